package row

import (
	"bytes"
	"encoding/json"
	"testing"
)

// The examples of RFC 8785, and what JSON.stringify(JSON.parse(…)) makes of the rest.
func TestCanonicalJSON(t *testing.T) {
	for _, c := range []struct{ in, want string }{
		{`{"numbers": [333333333.33333329, 1E30, 4.50, 2e-3, 0.000000000000000000000000001],
		  "string": "\u20ac$\u000F\u000aA'\u0042\u0022\u005c\\\"\/", "literals": [null, true, false]}`,
			`{"literals":[null,true,false],"numbers":[333333333.3333333,1e+30,4.5,0.002,1e-27],"string":"€$\u000f\nA'B\"\\\\\"/"}`},
		{`{"\u20ac": "Euro Sign", "\r": "Carriage Return", "\ufb33": "Hebrew Letter Dalet With Dagesh", "1": "One",
		  "\ud83d\ude00": "Emoji: Grinning Face", "\u0080": "Control", "\u00f6": "Latin Small Letter O With Diaeresis"}`,
			"{\"\\r\":\"Carriage Return\",\"1\":\"One\",\"\u0080\":\"Control\",\"ö\":\"Latin Small Letter O With Diaeresis\",\"€\":\"Euro Sign\",\"😀\":\"Emoji: Grinning Face\",\"\ufb33\":\"Hebrew Letter Dalet With Dagesh\"}"},
		{` [ ] `, `[]`}, {`{ }`, `{}`}, {`[-0, 0e5, 1e21, 999999999999999900000, 1e-6, 1e-7, 123456789012345678]`, `[0,0,1e+21,999999999999999900000,0.000001,1e-7,123456789012345680]`},
		{`[5e-324, 1.7976931348623157e308, 1e999, -1e999]`, `[5e-324,1.7976931348623157e+308,null,null]`},
		{`{"a":1,"b":[{"z":0,"y":1}],"a":2}`, `{"a":2,"b":[{"y":1,"z":0}]}`},
		{`"\ud800x\udc00"`, `"\ud800x\udc00"`}, {`"<\u2028&\u007f>"`, "\"<\u2028&\u007f>\""}, {`"\b\f\t\u001F"`, `"\b\f\t\u001f"`},
	} {
		got, err := AppendCanonicalJSON(nil, []byte(c.in))
		if err != nil || string(got) != c.want {
			t.Errorf("%s:\n%s, %v\nexpected\n%s", c.in, got, err, c.want)
		}
	}
	for _, broken := range []string{"", "[", "[1,]", "[1 2]", "{", `{"a"}`, `{"a":1,}`, `{1:2}`, "tru", `"`, `"\x"`, `"\u12"`, "\"\n\"", "1 2", "-", "1e", "]"} {
		if got, err := AppendCanonicalJSON(nil, []byte(broken)); err == nil {
			t.Errorf("%q became %s", broken, got)
		}
	}
}

// Canonical text stays as it is, says the same, and does not depend on how it was written.
func FuzzCanonicalJSON(f *testing.F) {
	for _, s := range []string{`{"b":[1,2.50,{"c":null}],"a":"\u00e9\ud83d\ude00"}`, `[1e400]`, `"\ud800"`, `{"a":1,"a":2}`} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, src []byte) {
		got, err := AppendCanonicalJSON(nil, src)
		if err != nil || !json.Valid(src) {
			return
		}
		again, err := AppendCanonicalJSON(nil, got)
		if err != nil || !bytes.Equal(got, again) {
			t.Errorf("%s, again %s, %v", got, again, err)
		}
		var indented bytes.Buffer
		if err := json.Indent(&indented, src, " ", "\t"); err != nil {
			t.Fatal(err)
		}
		if again, err = AppendCanonicalJSON(nil, indented.Bytes()); err != nil || !bytes.Equal(got, again) {
			t.Errorf("%s, indented %s, %v", got, again, err)
		}
	})
}
