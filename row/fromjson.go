package row

import (
	"bytes"
	"encoding/json"
	"fmt"
	"strconv"
	"strings"
)

// FromJSON is a JSON parameter as a Value: a number as [NumberValue] has it, text as
// TEXT, arrays and objects as JSON. v is what encoding/json made of it with
// UseNumber, or a json.RawMessage, which keeps the order of an object's members.
func FromJSON(v any) (Value, error) {
	switch v := v.(type) {
	case nil:
		return NullValue, nil
	case bool:
		return BoolValue(v), nil
	case string:
		return TextValue(strings.ToValidUTF8(v, "\uFFFD")), nil
	case json.Number:
		return numberFromJSON(string(v))
	case json.RawMessage:
		return fromRaw(v)
	case []any, map[string]any:
		var b bytes.Buffer
		e := json.NewEncoder(&b)
		e.SetEscapeHTML(false)
		if err := e.Encode(v); err != nil {
			return Value{}, fmt.Errorf("%w: %v", ErrValue, err)
		}
		return JSONValue(strings.TrimSuffix(b.String(), "\n")), nil
	}
	return Value{}, fmt.Errorf("%w: %T is no JSON parameter", ErrValue, v)
}

func numberFromJSON(s string) (Value, error) {
	if v, ok := NumberValue(s); ok {
		return v, nil
	}
	f, err := strconv.ParseFloat(s, 64) // a whole number of more than 128 bits
	if err != nil {
		return Value{}, fmt.Errorf("%w: the number %.60s is out of range", ErrValue, s)
	}
	return DoubleValue(f), nil
}

func fromRaw(raw json.RawMessage) (Value, error) {
	if !json.Valid(raw) {
		return Value{}, fmt.Errorf("%w: expected JSON", ErrValue)
	}
	raw = bytes.TrimSpace(raw)
	switch raw[0] {
	case '{', '[':
		return JSONValue(string(raw)), nil
	case '"':
		var s string
		err := json.Unmarshal(raw, &s)
		return TextValue(s), err
	case 'n':
		return NullValue, nil
	case 't', 'f':
		return BoolValue(raw[0] == 't'), nil
	}
	return numberFromJSON(string(raw))
}

// listFromJSON makes a LIST or an EMBEDDING of a JSON array.
func listFromJSON(v Value, t Type) (Value, error) {
	if !strings.HasPrefix(strings.TrimLeft(v.s, " \t\r\n"), "[") {
		return Value{}, valueError(v, t, "expected an array")
	}
	if t.Kind == Embedding {
		return embeddingFromJSON(v, t)
	}
	var raws []json.RawMessage
	if err := json.Unmarshal(v.bytes(), &raws); err != nil {
		return Value{}, valueError(v, t, "expected JSON")
	}
	elems := make([]Value, len(raws))
	for i, raw := range raws {
		e, err := fromRaw(raw)
		if err == nil {
			elems[i], err = CoerceParam(e, t.ElemType())
		}
		if err != nil {
			return Value{}, err
		}
	}
	return ListValue(elems), nil
}

// embeddingFromJSON reads an array of numbers; there may be thousands of them.
func embeddingFromJSON(v Value, t Type) (Value, error) {
	if !json.Valid(v.bytes()) {
		return Value{}, valueError(v, t, "expected JSON")
	}
	inner := strings.Trim(v.s, " \t\r\n")
	inner = inner[1 : len(inner)-1]
	floats := make([]float32, 0, t.Dim)
	for more := strings.TrimSpace(inner) != ""; more; {
		var number string
		number, inner, more = strings.Cut(inner, ",")
		number = strings.Trim(number, " \t\r\n")
		if c := number[0]; c != '-' && (c < '0' || c > '9') {
			return Value{}, valueError(v, t, "expected an array of numbers")
		}
		f, err := strconv.ParseFloat(number, 32)
		if err != nil {
			return Value{}, valueError(v, t, "expected an array of numbers that fit FLOAT")
		}
		floats = append(floats, float32(f))
	}
	if len(floats) != int(t.Dim) {
		return Value{}, dimError(len(floats), t)
	}
	return EmbeddingValue(floats), nil
}
