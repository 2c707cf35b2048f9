package storagelocations

import (
	"crypto/sha256"
	"errors"
	"fmt"
	"net/url"
	"path"
	"strings"
	"testing"

	"kalamdb/row"
)

func TestExpand(t *testing.T) {
	long := strings.Repeat("é", 64) // 128 bytes, 384 encoded
	for user, want := range map[row.UserID]string{
		"alice":                "users/alice/app/messages",
		"Bob-7":                "users/Bob-7/app/messages",
		"a@b.c":                "users/a%40b.c/app/messages",
		"auth0|5f7c8ec7c33c6c": "users/auth0%7C5f7c8ec7c33c6c/app/messages",
		"..":                   "users/%2E%2E/app/messages",
		".":                    "users/%2E/app/messages",
		".hidden.":             "users/%2Ehidden%2E/app/messages",
		"a/b":                  "users/a%2Fb/app/messages",
		`a\b`:                  "users/a%5Cb/app/messages",
		"a%2Fb":                "users/a%252Fb/app/messages",
		"a~b":                  "users/a%7Eb/app/messages",
		"${table}":             "users/%24%7Btable%7D/app/messages",
		"é":                    "users/%C3%A9/app/messages",
		"a b":                  "users/a%20b/app/messages",
		// 114 bytes are left of it: with the 20th character there would be more than 115.
		row.UserID(long): "users/" + strings.Repeat("%C3%A9", 19) + "~" + hash(long) + "/app/messages",
	} {
		if got := DefaultUser.Expand("app", "messages", user); got != want {
			t.Errorf("the folder of %q is %s, want %s", user, got, want)
		}
	}
	if got := DefaultShared.Expand("app", "messages", ""); got != "shared/app/messages" {
		t.Errorf("the folder of a shared table is %s", got)
	}
}

func hash(s string) string { return fmt.Sprintf("%x", sha256.Sum256([]byte(s))) }

func TestParseTemplate(t *testing.T) {
	for _, tt := range []struct {
		in   string
		user bool
		root string
		t    Template
	}{
		{"s3://b/p/${user_id}/x", true, "s3://b/p", "${user_id}/x"},
		{"s3://b/${user_id}", true, "s3://b", "${user_id}"},
		{"s3://b/p/u-${user_id}/", true, "s3://b/p", "u-${user_id}"},
		{"s3://b/p/q/x-${namespace}.${table}/${user_id}", true, "s3://b/p/q", "x-${namespace}.${table}/${user_id}"},
		{"file:///srv/data/${user_id}/${table}", true, "file:///srv/data", "${user_id}/${table}"},
		{"/srv/data/${user_id}", true, "file:///srv/data", "${user_id}"},
		{"/srv/data", false, "file:///srv/data", ""},
		{"s3://b", false, "s3://b", ""},
		{"s3://b/p/", false, "s3://b/p", ""},
		{"s3://b/${namespace}/${table}", false, "s3://b", "${namespace}/${table}"},
	} {
		root, got, err := ParseTemplate(tt.in, tt.user)
		if err != nil || root != tt.root || got != tt.t {
			t.Errorf("%s: %q %q %v, want %q %q", tt.in, root, got, err, tt.root, tt.t)
		}
	}
	for in, hint := range map[string]string{
		"":                                              "expected s3://",
		"relative/${user_id}":                           "expected s3://",
		"gs://b/${user_id}":                             "expected s3://",
		"s3:///x/${user_id}":                            "expected s3://",
		"file://host/${user_id}":                        "expected s3://",
		"/":                                             "root of the file system",
		"s3://${user_id}/x":                             "name of the bucket",
		"s3://b/p":                                      "${user_id} is missing",
		"s3://b/${table}":                               "${user_id} is missing",
		"s3://b/${userid}":                              "did you mean ${user_id}?",
		"s3://b/${USER_ID}":                             "did you mean ${user_id}?",
		"s3://b/${user_id}/${tabel}":                    "did you mean ${table}?",
		"s3://b/${user_id}/${name_space}":               "did you mean ${namespace}?",
		"s3://b/${user_id}/${x}":                        "expected ${user_id}, ${namespace} or ${table}",
		"s3://b/${user_id}/${}":                         "unknown variable",
		"s3://b/${user_id":                              "without }",
		"s3://b/$user_id":                               "lone $",
		"s3://b/${user_id}/a$b":                         "lone $",
		"s3://b/${user_id}-${table}":                    "another variable",
		"s3://b/${table}.${user_id}":                    "another variable",
		"s3://b/${user_id}${user_id}":                   "another variable",
		"s3://b/${user_id}/${namespace}${table}":        "separates",
		"s3://b/${user_id}/${namespace}_a${table}":      "separates",
		"s3://b/${user_id}/../x":                        "..",
		"s3://b/../${user_id}":                          "..",
		"s3://b//${user_id}":                            "segment",
		"s3://b/${user_id}//x":                          "segment",
		"s3://b/_kalamdb/${user_id}":                    "reserved",
		"s3://b/${user_id}/_KALAMDB":                    "reserved",
		"s3://b/${user_id}/.kalamdb.tmp":                "segment",
		"s3://b/${user_id}/a\nb":                        "character",
		"s3://b/${user_id}/" + strings.Repeat("a", 500): "bytes",
	} {
		root, got, err := ParseTemplate(in, true)
		if err == nil || !strings.Contains(err.Error(), hint) || !errors.Is(err, ErrTemplate) && !errors.Is(err, ErrURL) {
			t.Errorf("%q: %q %q %v, want an error with %q", in, root, got, err, hint)
		}
	}
	if _, _, err := ParseTemplate("s3://b/${user_id}", false); !errors.Is(err, ErrTemplate) {
		t.Errorf("a user id in a shared table: %v", err)
	}
	if got, err := ParseRelative("/x/${user_id}/", true); err != nil || got != "x/${user_id}" {
		t.Errorf("%q, %v", got, err)
	}
}

// FuzzExpand: whatever two users are called, their folders are apart, inside the
// bucket, short enough for a file system, and tell who they belong to.
func FuzzExpand(f *testing.F) {
	for _, pair := range [][2]string{{"alice", "Alice"}, {"a", "a/b"}, {"..", "."}, {"a", "a."}, {"a%2Fb", "a/b"}, {"é", "e\u0301"},
		{strings.Repeat("\xff", 128), strings.Repeat("\xff", 127) + "\xfe"}, {"", "%"}, {"~", "%7E"}, {"a\x00", "a"}} {
		f.Add(pair[0], pair[1], "users/${user_id}/${namespace}/${table}")
		f.Add(pair[0], pair[1], "x-${user_id}.d")
	}
	f.Fuzz(func(t *testing.T, a, b, template string) {
		tm, err := ParseRelative(template, true)
		if err != nil || len(a) > 128 || len(b) > 128 || a == "" || b == "" { // as ParseUserID bounds them
			return // not a user id
		}
		pa, pb := tm.Expand("app", "messages", row.UserID(a)), tm.Expand("app", "messages", row.UserID(b))
		if (a == b) != (pa == pb) {
			t.Fatalf("%q and %q have the folders %q and %q", a, b, pa, pb)
		}
		if a != b && (strings.HasPrefix(pa+"/", pb+"/") || strings.HasPrefix(pb+"/", pa+"/")) {
			t.Fatalf("%q and %q: one folder is inside the other: %q %q", a, b, pa, pb)
		}
		if err := checkName(pa); err != nil {
			t.Fatalf("%q in %q: %v", a, template, err)
		}
		if strings.Count(pa, "/") != strings.Count(string(tm), "/") {
			t.Fatalf("%q in %q has other depth: %q", a, template, pa)
		}
		encoded := encodeSegment(a)
		if len(encoded) > segmentBytesMax || encoded == "." || encoded == ".." {
			t.Fatalf("%q is encoded as %q", a, encoded)
		}
		if back, err := url.PathUnescape(encoded); !strings.Contains(encoded, "~") && (err != nil || back != a) {
			t.Fatalf("%q is encoded as %q, which reads %q, %v", a, encoded, back, err)
		}
	})
}

// Triples of different tables and users never share a folder in the default layout.
func TestDefaultLayoutKeepsTriplesApart(t *testing.T) {
	words := []string{"a", "b", "a_b", "a__b", "users", "shared", "app"}
	users := []row.UserID{"a", "b", "a/b", "a%2Fb", "a_b", "A", "..", "app", "%61"}
	seen := map[string]string{}
	add := func(path, who string) {
		for other, owner := range seen {
			if strings.HasPrefix(path+"/", other+"/") || strings.HasPrefix(other+"/", path+"/") {
				t.Fatalf("%s has %s, %s has %s", who, path, owner, other)
			}
		}
		seen[path] = who
	}
	for _, namespace := range words {
		for _, table := range words {
			for _, user := range users {
				add(DefaultUser.Expand(namespace, table, user), namespace+"."+table+"/"+string(user))
			}
			add(DefaultShared.Expand(namespace, table, ""), namespace+"."+table)
		}
	}
}

// FuzzParseTemplate: whatever an operator writes as a LOCATION and a user is called, the
// files stay below what was written before the first variable, in a bucket that opens.
func FuzzParseTemplate(f *testing.F) {
	for _, location := range []string{"s3://b/p/${user_id}/${table}", "file:///data/${namespace}-x/${user_id}", "/a/b/${user_id}.d", "s3://b/${user_id}", "s3://b/_KALAMDB/${user_id}",
		"/a/../b/${user_id}", "/a//${user_id}", "s3://b/%2e%2e/${user_id}", "/${user_id}", "s3://b/.kalamdb.tmp/${user_id}", "s3://b\\c/${user_id}", "/a/${user_id}/${user_id}", "s3://b/x${namespace}${user_id}"} {
		for _, user := range []string{"ana", "..", "../../etc", "a/b", "%2e%2e", "_kalamdb", "${table}", ".kalamdb.tmp", "\\", "\x00", "\xff", "é"} {
			f.Add(location, user, "app", "messages")
		}
	}
	f.Fuzz(func(t *testing.T, location, user, namespace, table string) {
		root, tm, err := ParseTemplate(location, true)
		if err != nil || user == "" || len(user) > 128 || namespace == "" || table == "" || len(namespace) > 63 || len(table) > 63 {
			return
		}
		folder := tm.Expand(namespace, table, row.UserID(user))
		if err := checkName(folder); err != nil {
			t.Fatalf("%q of %q: %v", location, user, err)
		}
		at, err := parseURL(root)
		if err != nil {
			t.Fatalf("%q has the root %q: %v", location, root, err)
		}
		if at.path != "" {
			if err := checkName(at.path); err != nil {
				t.Fatalf("%q has the root %q: %v", location, root, err)
			}
		}
		whole := at.path + "/" + folder
		if cleaned := path.Clean("/" + whole); cleaned != "/"+strings.TrimPrefix(whole, "/") {
			t.Fatalf("%q of %q is %q, which is %q", location, user, whole, cleaned)
		}
		for segment := range strings.SplitSeq(whole, "/") {
			if strings.EqualFold(segment, MetaFolder) {
				t.Fatalf("%q of %q is in the folder of the catalog: %q", location, user, whole)
			}
		}
		if other := tm.Expand(namespace, table, row.UserID(user+"x")); other == folder || strings.HasPrefix(other, folder+"/") || strings.HasPrefix(folder, other+"/") {
			t.Fatalf("%q: %q and another have %q and %q", location, user, folder, other)
		}
	})
}
