package auth

import (
	"strings"
	"testing"
)

func TestAPIKey(t *testing.T) {
	id, key, hash := NewAPIKey()
	if got, ok := APIKeyID(key); !ok || got != id {
		t.Fatalf("the id of %s is %q, %v, expected %q", key, got, ok, id)
	}
	if !hash.Of(key) || strings.Contains(key, string(hash[:])) {
		t.Fatal("the key is not that of its hash")
	}
	for _, wrong := range []string{"", key + "A", key[:len(key)-1], strings.ToLower(key), strings.Replace(key, id, "aaaaaaaaaaaa", 1)} {
		if hash.Of(wrong) {
			t.Errorf("%q passes as %q", wrong, key)
		}
	}
	if id2, key2, _ := NewAPIKey(); id2 == id || key2 == key {
		t.Error("two keys are the same")
	}
}

func TestAPIKeyForm(t *testing.T) {
	for _, bad := range []string{
		"", "kalam_", "kalam__", "kalam_abcdefghijkl", "kalam_abcdefghijkl_", "kalam_ABCDEFGHIJKL_x", "kalam_abcdefghijk_x", "kalam_../abcdefghi_x",
		"kalam_abcdefghijk1_x", "Kalam_abcdefghijkl_x", "eyJhbGciOiJIUzI1NiJ9.e30.x", "kalam_abcdefghijkl_" + strings.Repeat("x", apiKeyBytesMax),
	} {
		if id, ok := APIKeyID(bad); ok {
			t.Errorf("%q is taken for a key with the id %q", bad, id)
		}
	}
	if _, ok := APIKeyID("kalam_abcdefghijkl_x"); !ok {
		t.Error("a key of the right form is refused")
	}
	if IsAPIKey("eyJhbGciOiJIUzI1NiJ9.e30.x") {
		t.Error("a JWT is taken for a key")
	}
}
