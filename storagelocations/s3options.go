package storagelocations

import (
	"fmt"
	"net/url"
	"strconv"
)

// S3Options say where an S3 bucket is and how to reach it. What is empty comes
// from the standard AWS environment and profile.
type S3Options struct {
	Bucket    string
	Prefix    string // folder inside the bucket, without a slash at either end
	Region    string // us-east-1 if nobody names one
	Endpoint  string // http(s)://host[:port] of a store other than AWS
	AccessKey string
	SecretKey string
	// Credentials, in the place of the keys, says where they are: see [CheckCredentials].
	Credentials string
	// PathStyle puts the bucket's name into the path instead of the host name. A
	// store other than AWS is always spoken to in this way, unless HostStyle says otherwise.
	PathStyle, HostStyle bool
	// Checksums is "when_supported" (also if empty) or "when_required", for old
	// stores that refuse the checksums the SDK sends.
	Checksums string
	// SSE is how the store encrypts objects: "AES256", "aws:kms", "aws:kms:dsse", or as
	// the bucket says if it is empty. SSEKMSKeyID names a key for the last two.
	SSE, SSEKMSKeyID string
}

const (
	checksumsSupported = "when_supported"
	checksumsRequired  = "when_required"

	sseS3, sseKMS, sseDSSE = "AES256", "aws:kms", "aws:kms:dsse"
)

// S3OptionNames are the options that [ParseS3Options] knows.
var S3OptionNames = []string{"endpoint", "region", "path_style", "checksums", "sse", "sse_kms_key_id"}

// ParseS3Options makes S3Options of options by name, those of S3OptionNames; an empty
// value is none.
func ParseS3Options(options map[string]string) (o S3Options, err error) {
	for name, value := range options {
		if value == "" {
			continue
		}
		switch name {
		case "endpoint":
			o.Endpoint = value
		case "region":
			o.Region = value
		case "path_style":
			if o.PathStyle, err = strconv.ParseBool(value); err != nil {
				return o, fmt.Errorf("path_style is %q, expected true or false", value)
			}
			o.HostStyle = !o.PathStyle
		case "checksums":
			o.Checksums = value
		case "sse":
			o.SSE = value
		case "sse_kms_key_id":
			o.SSEKMSKeyID = value
		default:
			return o, fmt.Errorf("unknown option %s of S3", name)
		}
	}
	return o, o.Valid()
}

// Valid says what is wrong with o, or nil. It does not look at Bucket and Prefix. The
// text has nothing secret.
func (o S3Options) Valid() error {
	if o.Endpoint != "" {
		u, err := url.Parse(o.Endpoint)
		switch {
		case err != nil, u.Scheme != "http" && u.Scheme != "https", u.Host == "":
			return fmt.Errorf("S3 endpoint: expected http:// or https:// and a host")
		case u.User != nil:
			return fmt.Errorf("S3 endpoint: it has credentials in it, expected http:// or https:// and a host")
		case u.RawQuery != "" || u.Fragment != "":
			return fmt.Errorf("S3 endpoint: it has ? or #, expected http:// or https:// and a host")
		}
	}
	switch o.Checksums {
	case "", checksumsSupported, checksumsRequired:
	default:
		return fmt.Errorf("S3 checksums %q, expected %s or %s", o.Checksums, checksumsSupported, checksumsRequired)
	}
	switch o.SSE {
	case "", sseS3, sseKMS, sseDSSE:
	default:
		return fmt.Errorf("S3 sse %q, expected %s, %s or %s", o.SSE, sseS3, sseKMS, sseDSSE)
	}
	if o.SSEKMSKeyID != "" && o.SSE != sseKMS && o.SSE != sseDSSE {
		return fmt.Errorf("S3 sse_kms_key_id needs the sse %s or %s", sseKMS, sseDSSE)
	}
	if o.Credentials != "" && (o.AccessKey != "" || o.SecretKey != "") {
		return fmt.Errorf("S3 credentials are given both as keys and by reference, expected one")
	}
	return CheckCredentials(o.Credentials)
}

// over is o with what is empty in it taken from base.
func (o S3Options) over(base S3Options) S3Options {
	if o.Region == "" {
		o.Region = base.Region
	}
	if o.Endpoint == "" {
		o.Endpoint = base.Endpoint
	}
	if o.Credentials == "" && o.AccessKey == "" && o.SecretKey == "" {
		o.Credentials, o.AccessKey, o.SecretKey = base.Credentials, base.AccessKey, base.SecretKey
	}
	if !o.PathStyle && !o.HostStyle {
		o.PathStyle, o.HostStyle = base.PathStyle, base.HostStyle
	}
	if o.Checksums == "" {
		o.Checksums = base.Checksums
	}
	if o.SSE == "" {
		o.SSE, o.SSEKMSKeyID = base.SSE, base.SSEKMSKeyID
	}
	return o
}
