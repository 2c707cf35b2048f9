package sql

// Parse parses every statement of text.
func Parse(text string) ([]Statement, error) {
	return nil, &Error{Code: CodeNotSupported, Message: "not written"}
}

// Params is the highest number n of the parameters $n of text, 0 if there are none.
func Params(text string) (int, error) { return 0, nil }
