package main

import (
	"fmt"
	"strings"
	"testing"
)

func TestShownSettings(t *testing.T) {
	c := defaultConfig()
	c.Storage.S3.AccessKey, c.Storage.S3.SecretKey = "AKIA", "hush"
	c.Storage.URL = "s3://me:hush@bucket/prefix"
	c.Server.CORSOrigins = []string{"https://app.example.com"}
	list := c.shown()
	if len(list) != len(settingTypes()) {
		t.Errorf("%d settings are shown of %d", len(list), len(settingTypes()))
	}
	all := fmt.Sprint(list)
	for _, want := range []string{"{storage.s3.secret_key *** }", "{storage.url s3://***@bucket/prefix }", "{ingest.buffer_bytes_max 2GiB 2GiB}", "{query.timeout 1m0s 1m0s}", "[https://app.example.com]"} {
		if !strings.Contains(all, want) {
			t.Errorf("%s is not in %s", want, all)
		}
	}
	for _, secret := range []string{"hush", "AKIA"} {
		if strings.Contains(all, secret) {
			t.Errorf("%s is shown", secret)
		}
	}
}
