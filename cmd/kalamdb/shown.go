package main

import (
	"fmt"
	"reflect"
	"regexp"

	"kalamdb"
)

// secretKeys are settings whose values nobody is shown, and urlSecrets what may stand in
// a url before its host.
var (
	secretKeys = map[string]bool{"storage.s3.access_key": true, "storage.s3.secret_key": true}
	urlSecrets = regexp.MustCompile(`://[^/@]*@`)
)

const masked = "***"

// shown is every setting as system.settings shows it.
func (c config) shown() []kalamdb.Setting {
	var list []kalamdb.Setting
	var walk func(prefix string, v, d reflect.Value)
	walk = func(prefix string, v, d reflect.Value) {
		for i := range v.NumField() {
			key := prefix + v.Type().Field(i).Tag.Get("koanf")
			if v.Field(i).Kind() == reflect.Struct {
				walk(key+".", v.Field(i), d.Field(i))
				continue
			}
			value := urlSecrets.ReplaceAllString(fmt.Sprint(v.Field(i).Interface()), "://"+masked+"@")
			if secretKeys[key] && value != "" {
				value = masked
			}
			list = append(list, kalamdb.Setting{Name: key, Value: value, Default: fmt.Sprint(d.Field(i).Interface())})
		}
	}
	walk("", reflect.ValueOf(c), reflect.ValueOf(defaultConfig()))
	return list
}
