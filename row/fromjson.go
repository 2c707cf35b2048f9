package row

// FromJSON is a JSON parameter as a Value.
func FromJSON(v any) (Value, error) { return Value{}, ErrSlow }
