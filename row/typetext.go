package row

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
)

// MarshalText is [Type.String], so that documents show types as SQL does.
func (t Type) MarshalText() ([]byte, error) { return []byte(t.String()), nil }

// UnmarshalText reads what MarshalText wrote and refuses what is no column type.
func (t *Type) UnmarshalText(b []byte) error {
	parsed, err := parseTypeText(string(b))
	if err == nil {
		err = parsed.Valid()
	}
	if err != nil {
		return fmt.Errorf("type %q: %w", b, err)
	}
	*t = parsed
	return nil
}

func parseTypeText(s string) (Type, error) {
	if elem, ok := strings.CutSuffix(s, "[]"); ok {
		e, err := parseTypeText(elem)
		return Type{Kind: List, Elem: e.Kind, Precision: e.Precision, Scale: e.Scale}, err
	}
	name, args, _ := strings.Cut(strings.TrimRight(s, ")]"), "(")
	if dim, ok := strings.CutPrefix(name, "FLOAT["); ok {
		n, err := strconv.ParseUint(dim, 10, 16)
		return checkTypeText(Type{Kind: Embedding, Dim: uint16(n)}, s, err)
	}
	if name == "DECIMAL" {
		precision, scale, _ := strings.Cut(args, ",")
		p, err := strconv.ParseUint(precision, 10, 8)
		if err != nil {
			return Type{}, err
		}
		n, err := strconv.ParseUint(scale, 10, 8)
		return checkTypeText(Type{Kind: Decimal, Precision: uint8(p), Scale: uint8(n)}, s, err)
	}
	kind := slices.Index(kindNames[:], name)
	if kind < 0 {
		return Type{}, fmt.Errorf("unknown type")
	}
	return checkTypeText(Type{Kind: Kind(kind)}, s, nil)
}

// checkTypeText makes sure that t is written s and in no other way.
func checkTypeText(t Type, s string, err error) (Type, error) {
	if err == nil && t.String() != s {
		err = fmt.Errorf("expected %s", t)
	}
	return t, err
}
