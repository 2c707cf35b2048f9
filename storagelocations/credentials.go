package storagelocations

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"time"
	"unicode"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/config"
	"github.com/aws/aws-sdk-go-v2/credentials/ec2rolecreds"
	"github.com/aws/aws-sdk-go-v2/credentials/endpointcreds"
	"github.com/aws/aws-sdk-go-v2/credentials/stscreds"
	"github.com/aws/aws-sdk-go-v2/feature/ec2/imds"
	"github.com/aws/aws-sdk-go-v2/service/sts"
)

// ErrCredentials says that a text refers to no credentials, or that there are none
// where it leads.
var ErrCredentials = errors.New("credentials")

const (
	credentialsEnv     = "env"
	credentialsProfile = "profile"
	credentialsFile    = "file"
	credentialsIAM     = "iam"

	credentialsFileBytesMax = 64 << 10
	credentialsFileAge      = time.Minute // then it is read again, so that keys can be exchanged
)

var (
	credentialsPrefix = regexp.MustCompile(`^[A-Za-z_][A-Za-z0-9_]{0,99}$`)
	credentialsName   = regexp.MustCompile(`^[A-Za-z0-9_][A-Za-z0-9_.@+=,-]{0,99}$`)
)

// CheckCredentials says what is wrong with a reference to credentials, or nil:
//
//	env:PREFIX          the environment: PREFIX_ACCESS_KEY_ID, PREFIX_SECRET_ACCESS_KEY and, if set, PREFIX_SESSION_TOKEN
//	profile:name        a profile of the shared AWS files
//	file:/abs/path      a file with aws_access_key_id = … and aws_secret_access_key = …, read again every minute
//	iam                 the role of this machine: web identity, container or instance
//	(empty)             whatever the AWS SDK finds
//
// What is no reference may be a secret that somebody has put in the wrong place: the
// error does not repeat it.
func CheckCredentials(ref string) error {
	kind, rest, _ := strings.Cut(ref, ":")
	switch {
	case ref == "", ref == credentialsIAM,
		kind == credentialsEnv && credentialsPrefix.MatchString(rest),
		kind == credentialsProfile && credentialsName.MatchString(rest),
		kind == credentialsFile && filepath.IsAbs(rest) && filepath.Clean(rest) == rest && !strings.ContainsFunc(rest, unicode.IsControl):
		return nil
	}
	return fmt.Errorf("%w: expected env:PREFIX, profile:name, file:/absolute/path, iam or nothing; keys themselves are not kept", ErrCredentials)
}

// credentialsError says where credentials were looked for and why there are none.
func credentialsError(ref string, err error) error {
	var none config.SharedConfigProfileNotExistError
	if errors.As(err, &none) {
		return fmt.Errorf("%w %s: no AWS file of this machine has that profile", ErrCredentials, ref)
	}
	if inner := errors.Unwrap(err); inner != nil && strings.HasPrefix(err.Error(), "failed to refresh cached credentials") {
		err = inner // nothing was cached yet
	}
	return fmt.Errorf("%w %s: %w", ErrCredentials, ref, err)
}

// referredCredentials are those of a reference, except of iam.
func referredCredentials(ref string) []func(*config.LoadOptions) error {
	kind, rest, _ := strings.Cut(ref, ":")
	from := func(retrieve func() (aws.Credentials, error)) []func(*config.LoadOptions) error {
		return []func(*config.LoadOptions) error{config.WithCredentialsProvider(aws.CredentialsProviderFunc(func(context.Context) (aws.Credentials, error) { return retrieve() }))}
	}
	switch kind {
	case credentialsEnv:
		return from(func() (aws.Credentials, error) { return envCredentials(rest) })
	case credentialsFile:
		return from(func() (aws.Credentials, error) { return fileCredentials(rest) })
	case credentialsProfile:
		return []func(*config.LoadOptions) error{config.WithSharedConfigProfile(rest)}
	}
	return nil
}

func envCredentials(prefix string) (aws.Credentials, error) {
	key, secret := prefix+"_ACCESS_KEY_ID", prefix+"_SECRET_ACCESS_KEY"
	for _, name := range []string{key, secret} {
		if os.Getenv(name) == "" {
			return aws.Credentials{}, fmt.Errorf("environment variable %s is not set", name)
		}
	}
	return aws.Credentials{AccessKeyID: os.Getenv(key), SecretAccessKey: os.Getenv(secret), SessionToken: os.Getenv(prefix + "_SESSION_TOKEN"), Source: credentialsEnv}, nil
}

// fileCredentials reads lines of name = value, with or without a [section] before them,
// in the manner of the shared AWS file, or NAME=value in that of an environment file.
func fileCredentials(path string) (c aws.Credentials, err error) {
	f, err := os.Open(path)
	if err != nil {
		return c, err
	}
	defer f.Close()
	body, err := io.ReadAll(io.LimitReader(f, credentialsFileBytesMax+1))
	if err != nil {
		return c, err
	}
	if len(body) > credentialsFileBytesMax {
		return c, fmt.Errorf("the file is larger than %d bytes", credentialsFileBytesMax)
	}
	c = aws.Credentials{Source: credentialsFile, CanExpire: true, Expires: time.Now().Add(credentialsFileAge)}
	sections := 0
	for lines := bufio.NewScanner(bytes.NewReader(body)); lines.Scan(); {
		line := strings.TrimSpace(lines.Text())
		if strings.HasPrefix(line, "[") {
			if sections++; sections > 1 {
				return c, errors.New("the file has several sections, expected the keys of one place")
			}
		}
		name, value, _ := strings.Cut(line, "=")
		value = strings.Trim(strings.TrimSpace(value), `"'`)
		switch strings.ToLower(strings.TrimSpace(strings.TrimPrefix(name, "export "))) {
		case "aws_access_key_id":
			c.AccessKeyID = value
		case "aws_secret_access_key":
			c.SecretAccessKey = value
		case "aws_session_token":
			c.SessionToken = value
		}
	}
	if c.AccessKeyID == "" || c.SecretAccessKey == "" {
		return c, errors.New("the file does not have both aws_access_key_id and aws_secret_access_key")
	}
	return c, nil
}

// iamCredentials are those of the role that this process has, and no keys of the
// environment or of a file.
func iamCredentials(cfg aws.Config) aws.CredentialsProvider {
	if file := os.Getenv("AWS_WEB_IDENTITY_TOKEN_FILE"); file != "" {
		return stscreds.NewWebIdentityRoleProvider(sts.NewFromConfig(cfg), os.Getenv("AWS_ROLE_ARN"), stscreds.IdentityTokenFile(file),
			func(o *stscreds.WebIdentityRoleOptions) { o.RoleSessionName = os.Getenv("AWS_ROLE_SESSION_NAME") })
	}
	url := os.Getenv("AWS_CONTAINER_CREDENTIALS_FULL_URI")
	if path := os.Getenv("AWS_CONTAINER_CREDENTIALS_RELATIVE_URI"); path != "" {
		url = "http://169.254.170.2" + path // the address of the agent in a container
	}
	if url != "" {
		return endpointcreds.New(url, func(o *endpointcreds.Options) {
			o.HTTPClient = cfg.HTTPClient
			o.AuthorizationToken = os.Getenv("AWS_CONTAINER_AUTHORIZATION_TOKEN")
			if file := os.Getenv("AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE"); file != "" {
				o.AuthorizationTokenProvider = endpointcreds.TokenProviderFunc(func() (string, error) {
					token, err := os.ReadFile(file)
					return strings.TrimSpace(string(token)), err
				})
			}
		})
	}
	return ec2rolecreds.New(func(o *ec2rolecreds.Options) { o.Client = imds.NewFromConfig(cfg) })
}
