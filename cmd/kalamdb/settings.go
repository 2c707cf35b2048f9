package main

import (
	"errors"
	"fmt"
	"maps"
	"os"
	"reflect"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/knadh/koanf/parsers/toml/v2"
	"github.com/knadh/koanf/v2"
	tomlerr "github.com/pelletier/go-toml/v2"

	"kalamdb/sql"
)

const envPrefix = "KALAMDB_"

// envOthers are variables with our prefix that are no settings of a server: those
// of the client commands and tests, and those that Kubernetes makes for a service
// of the name kalamdb.
var envOthers = regexp.MustCompile(`^KALAMDB_(CONFIG|TOKEN|URL|TEST_.*|MINIO_BIN|VERSITYGW_BIN|GO_DOWNLOAD|SERVICE_(HOST|PORT.*)|PORT(_.*)?)$`)

// loadConfig is the defaults, overridden by the TOML file (if path is not empty),
// then by the environment, then by flags, which are values by key.
func loadConfig(path string, environ []string, flags map[string]string) (config, error) {
	known := settingTypes()
	k := koanf.New(".")
	for _, source := range []func() (map[string]any, error){
		func() (map[string]any, error) { return fileSettings(path, known) },
		func() (map[string]any, error) { return envSettings(environ, known) },
		func() (map[string]any, error) { return flagSettings(flags, known) },
	} {
		values, err := source()
		if err != nil {
			return config{}, err
		}
		if err := k.Load(settings(values), nil); err != nil {
			return config{}, err
		}
	}
	cfg := defaultConfig()
	if err := k.Unmarshal("", &cfg); err != nil {
		return config{}, fmt.Errorf("settings: %w", err)
	}
	return cfg, nil
}

// settings is a koanf.Provider of typed values by dotted key.
type settings map[string]any

func (s settings) ReadBytes() ([]byte, error) { return nil, errors.New("settings have no bytes") }

func (s settings) Read() (map[string]any, error) {
	nested := map[string]any{}
	for key, v := range s {
		at, path := nested, strings.Split(key, ".")
		for _, section := range path[:len(path)-1] {
			if at[section] == nil {
				at[section] = map[string]any{}
			}
			at = at[section].(map[string]any)
		}
		at[path[len(path)-1]] = v
	}
	return nested, nil
}

// settingTypes are the types of all settings by dotted key, from config's tags.
func settingTypes() map[string]reflect.Type {
	types := map[string]reflect.Type{}
	var walk func(prefix string, t reflect.Type)
	walk = func(prefix string, t reflect.Type) {
		for f := range t.Fields() {
			key := prefix + f.Tag.Get("koanf")
			if f.Type.Kind() == reflect.Struct {
				walk(key+".", f.Type)
			} else {
				types[key] = f.Type
			}
		}
	}
	walk("", reflect.TypeFor[config]())
	return types
}

func fileSettings(path string, known map[string]reflect.Type) (map[string]any, error) {
	if path == "" {
		return nil, nil
	}
	text, err := os.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("read config: %w", err)
	}
	k := koanf.New(".")
	tree, err := toml.Parser().Unmarshal(text)
	if bad := (*tomlerr.DecodeError)(nil); errors.As(err, &bad) {
		line, column := bad.Position()
		return nil, fmt.Errorf("%s:%d:%d: %w", path, line, column, err)
	}
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	if err := k.Load(settings(tree), nil); err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	values := map[string]any{}
	for key, v := range k.All() {
		if m, ok := v.(map[string]any); ok && len(m) == 0 && isSection(key, known) {
			continue
		}
		t, ok := known[key]
		if !ok {
			return nil, fmt.Errorf("%s: %w", path, unknown("key", key, slices.Collect(maps.Keys(known))))
		}
		if values[key], err = typed(v, t, false); err != nil {
			return nil, fmt.Errorf("%s: %s: %w", path, key, err)
		}
	}
	return values, nil
}

func isSection(name string, known map[string]reflect.Type) bool {
	for key := range known {
		if strings.HasPrefix(key, name+".") {
			return true
		}
	}
	return false
}

func envSettings(environ []string, known map[string]reflect.Type) (map[string]any, error) {
	keys := make(map[string]string, len(known))
	for key := range known {
		keys[envPrefix+strings.ToUpper(strings.ReplaceAll(key, ".", "_"))] = key
	}
	values := map[string]any{}
	for _, pair := range environ {
		name, text, _ := strings.Cut(pair, "=")
		if !strings.HasPrefix(name, envPrefix) || envOthers.MatchString(name) {
			continue
		}
		key, ok := keys[name]
		if !ok {
			return nil, unknown("environment variable", name, slices.Collect(maps.Keys(keys)))
		}
		var err error
		if values[key], err = typed(text, known[key], true); err != nil {
			return nil, fmt.Errorf("%s: %w", name, err)
		}
	}
	return values, nil
}

func flagSettings(flags map[string]string, known map[string]reflect.Type) (map[string]any, error) {
	values := map[string]any{}
	for key, text := range flags {
		v, err := typed(text, known[key], true)
		if err != nil {
			return nil, fmt.Errorf("flag for %s: %w", key, err)
		}
		values[key] = v
	}
	return values, nil
}

// typed converts a value of the file, or the text of a variable or flag, to a
// setting's type, and refuses everything that is not plainly one.
func typed(v any, t reflect.Type, text bool) (any, error) {
	s, isText := v.(string)
	n, isInt := v.(int64)
	if text && t.Kind() == reflect.Int || text && t == reflect.TypeFor[int64]() {
		parsed, err := strconv.ParseInt(s, 10, 64)
		n, isInt = parsed, err == nil
	}
	switch {
	case t == reflect.TypeFor[time.Duration]():
		if d, err := time.ParseDuration(s); isText && err == nil && d >= 0 {
			return d, nil
		}
		return nil, fmt.Errorf("%v is not a time: expected a number with ms, s, m or h, like \"90s\"", v)
	case t == reflect.TypeFor[byteSize]():
		var b byteSize
		if isInt && n >= 0 {
			return byteSize(n), nil
		}
		if !isText {
			return nil, fmt.Errorf("%v is not a size: expected a number of bytes, or text like \"512MiB\"", v)
		}
		err := b.UnmarshalText([]byte(s))
		return b, err
	case t.Kind() == reflect.Int || t.Kind() == reflect.Int64:
		if isInt && n >= 0 {
			return reflect.ValueOf(n).Convert(t).Interface(), nil
		}
		return nil, fmt.Errorf("%v is not a whole number of 0 or more", v)
	case t.Kind() == reflect.Bool:
		b, ok := v.(bool)
		if text {
			parsed, err := strconv.ParseBool(s)
			b, ok = parsed, err == nil
		}
		if ok {
			return b, nil
		}
		return nil, fmt.Errorf("%v is neither true nor false", v)
	case t.Kind() == reflect.Slice:
		return typedList(v, text)
	case isText:
		return s, nil
	}
	return nil, fmt.Errorf("%v is not text in quotes", v)
}

func typedList(v any, text bool) (any, error) {
	list := []string{}
	if text {
		for part := range strings.SplitSeq(v.(string), ",") {
			if part = strings.TrimSpace(part); part != "" {
				list = append(list, part)
			}
		}
		return list, nil
	}
	parts, ok := v.([]any)
	for _, part := range parts {
		s, isText := part.(string)
		ok = ok && isText
		list = append(list, s)
	}
	if !ok {
		return nil, fmt.Errorf("%v is not a list of texts, like [\"a\", \"b\"]", v)
	}
	return list, nil
}

// unknown is the error for a name that is none of valid.
func unknown(what, name string, valid []string) error {
	slices.Sort(valid)
	if near, ok := sql.Nearest(name, valid); ok {
		return fmt.Errorf("unknown %s %s, did you mean %s?", what, name, near)
	}
	return fmt.Errorf("unknown %s %s (kalamdb.example.toml lists every key)", what, name)
}
