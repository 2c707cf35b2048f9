package main

import (
	"fmt"
	"log/slog"
	"maps"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/knadh/koanf/parsers/toml/v2"
	"github.com/knadh/koanf/v2"
)

const exampleFile = "../../kalamdb.example.toml"

// TestExampleListsEveryKey holds kalamdb.example.toml and config together, key by
// key and default by default.
func TestExampleListsEveryKey(t *testing.T) {
	text, err := os.ReadFile(exampleFile)
	if err != nil {
		t.Fatal(err)
	}
	tree, err := toml.Parser().Unmarshal(text)
	if err != nil {
		t.Fatal(err)
	}
	k := koanf.New(".")
	if err := k.Load(settings(tree), nil); err != nil {
		t.Fatal(err)
	}
	listed, known := slices.Sorted(maps.Keys(k.All())), slices.Sorted(maps.Keys(settingTypes()))
	if !slices.Equal(listed, known) {
		t.Errorf("keys of the example:\n%v\nkeys of config:\n%v", listed, known)
	}
	cfg, err := loadConfig(exampleFile, nil, nil)
	if err != nil {
		t.Fatal(err)
	}
	if want := defaultConfig(); !reflect.DeepEqual(cfg, want) {
		t.Errorf("the example says\n%+v\nthe defaults are\n%+v", cfg, want)
	}
}

// sample is text for a setting that is not its default; of a bool it tells which that is.
func sample(t reflect.Type, n int, isTrue bool) string {
	switch {
	case t == reflect.TypeFor[time.Duration]():
		return fmt.Sprintf("%ds", 1000+n)
	case t.Kind() == reflect.Bool:
		return fmt.Sprint(!isTrue)
	case t.Kind() == reflect.Slice:
		return fmt.Sprintf("https://a%d.example, https://b.example", n)
	case t.Kind() == reflect.String:
		return fmt.Sprintf("value%d", n)
	}
	return fmt.Sprint(1000 + n)
}

// TestEveryKeyReachesOptions sets one key at a time, by its environment variable,
// and wants it to arrive in some package's Options.
func TestEveryKeyReachesOptions(t *testing.T) {
	options := func(c config) []any {
		who, err := c.verifier()
		faces, facesErr := c.http(nil)
		return []any{c.database(slog.Default()), who, err, faces, facesErr, c.Server.MetricsListen, c.Listen, c.Log}
	}
	before := options(defaultConfig())
	n := 0
	for key, typ := range settingTypes() {
		n++
		name := envPrefix + strings.ToUpper(strings.ReplaceAll(key, ".", "_"))
		cfg, err := loadConfig("", []string{name + "=" + sample(typ, n, key == "lake.compaction")}, nil)
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		if reflect.DeepEqual(options(cfg), before) {
			t.Errorf("%s changes no Options", key)
		}
	}
}

func TestPrecedence(t *testing.T) {
	file := writeFile(t, "data_dir = '/file'\nlisten = '127.0.0.1:1'\n[log]\nlevel = 'warn'\n[ingest]\n[query]\ntimeout = '5s'\nmemory_bytes = '64MiB'\n[server]\nbody_bytes_max = 4096\ncors_origins = ['https://a.example']\n")
	env := []string{"KALAMDB_LISTEN=127.0.0.1:2", "KALAMDB_LOG_LEVEL=error", "KALAMDB_SERVER_CORS_ORIGINS=https://b.example, https://c.example", "KALAMDB_TOKEN=x", "KALAMDB_SERVICE_HOST=10.0.0.1", "KALAMDB_PORT_8080_TCP=tcp://10.0.0.1:8080", "HOME=/root"}
	cfg, err := loadConfig(file, env, map[string]string{"log.level": "debug", "dev": "true"})
	if err != nil {
		t.Fatal(err)
	}
	want := defaultConfig()
	want.DataDir, want.Listen, want.Log.Level, want.Dev = "/file", "127.0.0.1:2", "debug", true
	want.Query.Timeout, want.Query.MemoryBytes = 5*time.Second, 64*mib
	want.Server.BodyBytesMax, want.Server.CORSOrigins = 4096, []string{"https://b.example", "https://c.example"}
	if !reflect.DeepEqual(cfg, want) {
		t.Errorf("got\n%+v\nexpected\n%+v", cfg, want)
	}
}

func TestBadSettings(t *testing.T) {
	for _, c := range []struct {
		file, env, want string
	}{
		{file: "data_dri = 'x'", want: "unknown key data_dri, did you mean data_dir?"},
		{file: "[ingest]\nbufer_bytes_max = 1", want: "unknown key ingest.bufer_bytes_max, did you mean ingest.buffer_bytes_max?"},
		{file: "[qeury]\ntimeout = '1s'", want: "unknown key qeury.timeout, did you mean query.timeout?"},
		{file: "[nonsense]", want: "unknown key nonsense (kalamdb.example.toml lists every key)"},
		{file: "ingest = 5", want: "unknown key ingest"},
		{file: "listen = 8080", want: "listen: 8080 is not text in quotes"},
		{file: "dev = 'yes'", want: "dev: yes is neither true nor false"},
		{file: "[query]\nthreads = '2'", want: "query.threads: 2 is not a whole number"},
		{file: "[query]\nthreads = -1", want: "query.threads: -1 is not a whole number of 0 or more"},
		{file: "[query]\nthreads = 1.5", want: "query.threads: 1.5 is not a whole number"},
		{file: "[query]\ntimeout = 5", want: "query.timeout: 5 is not a time"},
		{file: "[query]\ntimeout = '-5s'", want: "query.timeout: -5s is not a time"},
		{file: "[query]\nmemory_bytes = '1GB'", want: `query.memory_bytes: "1GB" is not a size`},
		{file: "[query]\nmemory_bytes = '-1'", want: `query.memory_bytes: "-1" is not a size`},
		{file: "[query]\nmemory_bytes = '9223372036854775807KiB'", want: "is not a size"},
		{file: "[server]\ncors_origins = 'x'", want: "server.cors_origins: x is not a list"},
		{file: "[server]\ncors_origins = [1]", want: "server.cors_origins: [1] is not a list"},
		{file: "listen = 'a'\nlisten = 'b'", want: ".toml"},
		{file: "listen = ", want: ".toml:1:"},
		{env: "KALAMDB_LISTN=x", want: "unknown environment variable KALAMDB_LISTN, did you mean KALAMDB_LISTEN?"},
		{env: "KALAMDB_STORAGE_S3_REGOIN=x", want: "did you mean KALAMDB_STORAGE_S3_REGION?"},
		{env: "KALAMDB_QUERY_THREADS=many", want: "KALAMDB_QUERY_THREADS: many is not a whole number"},
		{env: "KALAMDB_DEV=perhaps", want: "KALAMDB_DEV: perhaps is neither true nor false"},
	} {
		path := ""
		if c.file != "" {
			path = writeFile(t, c.file)
		}
		_, err := loadConfig(path, []string{c.env}, nil)
		if err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("file %q, environment %q: error %v, expected one with %q", c.file, c.env, err, c.want)
		}
	}
	if _, err := loadConfig(filepath.Join(t.TempDir(), "absent.toml"), nil, nil); err == nil {
		t.Error("a config file that is not there is no error")
	}
}

func TestByteSize(t *testing.T) {
	for text, want := range map[string]byteSize{"0": 0, "17": 17, "17B": 17, "2KiB": 2048, " 3 MiB ": 3 * mib, "1GiB": gib, "1TiB": 1024 * gib} {
		var b byteSize
		if err := b.UnmarshalText([]byte(text)); err != nil || b != want {
			t.Errorf("%q is %d, %v, expected %d", text, b, err, want)
		}
		var again byteSize
		if err := again.UnmarshalText([]byte(b.String())); err != nil || again != b {
			t.Errorf("%d reads %q back as %d, %v", b, b, again, err)
		}
	}
}

func writeFile(t *testing.T, text string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "kalamdb.toml")
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}
