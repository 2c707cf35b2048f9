package storagelocations

import (
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"iter"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	awshttp "github.com/aws/aws-sdk-go-v2/aws/transport/http"
	"github.com/aws/aws-sdk-go-v2/config"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/s3/types"
	"github.com/aws/smithy-go"
)

const (
	idleConnsPerHostMax = 256
	replyTimeout        = time.Minute     // from the end of a request to the first byte of the answer
	readBackTimeout     = 5 * time.Second // to find out what became of a conditional put
	conflictTriesMax    = 5
	deniedTriesMax      = 4

	// nonceKey is the user metadata that says who wrote an object under a condition.
	nonceKey = "kalamdb-nonce"
)

// s3Bucket is a prefix of an S3 bucket.
//
// A conditional put whose reply is lost is sent again by the SDK and then refused,
// by the object it has written itself. So every conditional put carries a nonce in
// the object's metadata, and an error is believed only after the object has been
// read back: with our nonce the put has happened.
type s3Bucket struct {
	s3Client
	bucket, prefix string // prefix is empty or ends in a slash
}

type s3Client struct {
	api    *s3.Client
	http   *http.Client
	sse    types.ServerSideEncryption
	kmsKey string
}

// NewS3 opens an S3 bucket. It does not ask the network for anything but
// credentials; see [Probe]. The Bucket is an io.Closer that ends idle connections.
func NewS3(ctx context.Context, o S3Options) (Bucket, error) {
	c, err := newS3Client(ctx, o)
	if err != nil {
		return nil, err
	}
	return c.open(o.Bucket, o.Prefix)
}

func newS3Client(ctx context.Context, o S3Options) (s3Client, error) {
	if err := o.Valid(); err != nil {
		return s3Client{}, err
	}
	options := []func(*config.LoadOptions) error{
		config.WithHTTPClient(awshttp.NewBuildableClient().WithTransportOptions(func(t *http.Transport) {
			t.MaxIdleConns, t.MaxIdleConnsPerHost = 0, idleConnsPerHostMax
			t.ResponseHeaderTimeout = replyTimeout
		})),
	}
	if o.Region != "" {
		options = append(options, config.WithRegion(o.Region))
	}
	if o.AccessKey != "" || o.SecretKey != "" {
		options = append(options, config.WithCredentialsProvider(credentials.NewStaticCredentialsProvider(o.AccessKey, o.SecretKey, "")))
	}
	options = append(options, referredCredentials(o.Credentials)...)
	switch o.Checksums {
	case checksumsSupported:
		options = append(options, config.WithRequestChecksumCalculation(aws.RequestChecksumCalculationWhenSupported),
			config.WithResponseChecksumValidation(aws.ResponseChecksumValidationWhenSupported))
	case checksumsRequired:
		options = append(options, config.WithRequestChecksumCalculation(aws.RequestChecksumCalculationWhenRequired),
			config.WithResponseChecksumValidation(aws.ResponseChecksumValidationWhenRequired))
	}
	cfg, err := config.LoadDefaultConfig(ctx, options...)
	if err != nil {
		if o.Credentials != "" {
			return s3Client{}, credentialsError(o.Credentials, err)
		}
		return s3Client{}, fmt.Errorf("AWS configuration: %w", err)
	}
	if cfg.Region == "" {
		cfg.Region = "us-east-1"
	}
	c := s3Client{sse: types.ServerSideEncryption(o.SSE), kmsKey: o.SSEKMSKeyID, http: &http.Client{CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}}
	if b, ok := cfg.HTTPClient.(*awshttp.BuildableClient); ok { // with the CA bundle of the environment
		c.http.Transport = b.GetTransport()
	}
	cfg.HTTPClient = c.http
	if o.Credentials == credentialsIAM {
		cfg.Credentials = aws.NewCredentialsCache(iamCredentials(cfg))
	}
	if o.Credentials != "" { // a reference that leads nowhere is found now, not by the first request
		if _, err := cfg.Credentials.Retrieve(ctx); err != nil {
			c.http.CloseIdleConnections()
			return s3Client{}, credentialsError(o.Credentials, err)
		}
	}
	c.api = s3.NewFromConfig(cfg, func(so *s3.Options) {
		if o.Endpoint != "" {
			so.BaseEndpoint = aws.String(o.Endpoint)
		}
		so.UsePathStyle = o.PathStyle || !o.HostStyle && so.BaseEndpoint != nil && !isAWS(*so.BaseEndpoint)
		so.DisableLogOutputChecksumValidationSkipped = true
	})
	return c, nil
}

func isAWS(endpoint string) bool {
	u, err := url.Parse(endpoint)
	return err == nil && strings.HasSuffix(strings.ToLower(u.Hostname()), ".amazonaws.com")
}

func (c s3Client) open(bucket, prefix string) (Bucket, error) {
	if bucket == "" {
		return nil, errors.New("the name of the S3 bucket is empty")
	}
	if prefix = strings.Trim(prefix, "/"); prefix != "" {
		if err := checkName(prefix); err != nil {
			return nil, fmt.Errorf("S3 prefix: %w", err)
		}
		prefix += "/"
	}
	return &s3Bucket{c, bucket, prefix}, nil
}

func (b *s3Bucket) Close() error {
	b.http.CloseIdleConnections()
	return nil
}

func (b *s3Bucket) key(name string) *string { return aws.String(b.prefix + name) }

// code is the error code and the HTTP status of an answer of the store.
func s3Code(err error) (code string, status int) {
	var api smithy.APIError
	if errors.As(err, &api) {
		code = api.ErrorCode()
	}
	var reply *awshttp.ResponseError
	if errors.As(err, &reply) {
		status = reply.HTTPStatusCode()
	}
	return code, status
}

// s3Error says what failed in one sentence, without the SDK's own story.
func s3Error(verb, name string, err error) error {
	if code, status := s3Code(err); status == http.StatusNotFound && (code == "NoSuchKey" || code == "NotFound") {
		return fmt.Errorf("%s %s: %w", verb, name, ErrNotExist)
	}
	return fmt.Errorf("%s %s: %w", verb, name, &s3Failure{err})
}

// s3Failure is an error of the SDK that reads as what the store said, or as why it
// could not be asked.
type s3Failure struct{ error }

func (e *s3Failure) Unwrap() error { return e.error }

func (e *s3Failure) Error() string {
	var api smithy.APIError
	var sent *url.Error
	_, status := s3Code(e.error)
	switch {
	case errors.As(e.error, &api) && status != 0:
		text := fmt.Sprintf("%d %s", status, api.ErrorCode())
		if said := api.ErrorMessage(); said != "" && said != api.ErrorCode() {
			text += ": " + said
		}
		return text
	case errors.As(e.error, &sent):
		return sent.Err.Error()
	}
	return e.error.Error()
}

func (b *s3Bucket) Get(ctx context.Context, name string) (io.ReadCloser, Info, error) {
	if err := checkName(name); err != nil {
		return nil, Info{}, err
	}
	out, err := b.api.GetObject(ctx, &s3.GetObjectInput{Bucket: &b.bucket, Key: b.key(name)})
	if err != nil {
		return nil, Info{}, s3Error("get", name, err)
	}
	return out.Body, Info{
		Name: name, Size: aws.ToInt64(out.ContentLength), ETag: aws.ToString(out.ETag), Modified: aws.ToTime(out.LastModified),
	}, nil
}

func (b *s3Bucket) GetRange(ctx context.Context, name string, off, n int64) (io.ReadCloser, error) {
	if err := checkRange(name, off, n); err != nil {
		return nil, err
	}
	out, err := b.api.GetObject(ctx, &s3.GetObjectInput{
		Bucket: &b.bucket, Key: b.key(name), Range: aws.String(fmt.Sprintf("bytes=%d-%d", off, off+n-1)),
	})
	if _, status := s3Code(err); status == http.StatusRequestedRangeNotSatisfiable {
		return io.NopCloser(bytes.NewReader(nil)), nil // it ends at or before off
	}
	if err != nil {
		return nil, s3Error("get", name, err)
	}
	return out.Body, nil
}

func (b *s3Bucket) Put(ctx context.Context, name string, body []byte, cond Cond) (Info, error) {
	if err := checkPut(name, cond); err != nil {
		return Info{}, err
	}
	for try := 1; ; try++ {
		info, err := b.putOnce(ctx, name, body, cond)
		code, status := s3Code(err)
		// 409: another conditional put of the name was under way; neither is known to have won.
		again := status == http.StatusConflict && cond != (Cond{}) && try < conflictTriesMax
		// MinIO on a folder says so, too, when a delete removes the empty folder of the
		// name at the same moment.
		again = again || code == "AccessDenied" && try < deniedTriesMax
		if !again {
			return info, err
		}
		select {
		case <-time.After(time.Duration(try*try) * 20 * time.Millisecond):
		case <-ctx.Done():
			return Info{}, ctx.Err()
		}
	}
}

func (b *s3Bucket) putOnce(ctx context.Context, name string, body []byte, cond Cond) (Info, error) {
	in := &s3.PutObjectInput{
		Bucket: &b.bucket, Key: b.key(name), Body: bytes.NewReader(body), ContentLength: aws.Int64(int64(len(body))),
		ServerSideEncryption: b.sse,
	}
	if b.kmsKey != "" {
		in.SSEKMSKeyId = &b.kmsKey
	}
	nonce := ""
	if cond != (Cond{}) {
		nonce = rand.Text()
		in.Metadata = map[string]string{nonceKey: nonce}
	}
	if cond.IfNoneMatch {
		in.IfNoneMatch = aws.String("*")
	}
	if cond.IfMatch != "" {
		in.IfMatch = aws.String(cond.IfMatch)
	}
	out, err := b.api.PutObject(ctx, in)
	if err == nil {
		return Info{Name: name, Size: int64(len(body)), ETag: aws.ToString(out.ETag), Modified: time.Now()}, nil
	}
	if nonce == "" {
		return Info{}, s3Error("put", name, err)
	}
	code, status := s3Code(err)
	if status == http.StatusNotFound && code == "NoSuchKey" && cond.IfMatch != "" {
		return Info{}, fmt.Errorf("put %s: %w", name, ErrPrecondition) // nothing is there to match
	}
	info, ours, readErr := b.readBack(ctx, name, nonce)
	switch {
	case ours:
		return info, nil
	case status == http.StatusPreconditionFailed && readErr == nil:
		return Info{}, fmt.Errorf("put %s: %w", name, ErrPrecondition)
	case status == http.StatusPreconditionFailed:
		return Info{}, fmt.Errorf("put %s: refused, perhaps because of its own first attempt; reading back: %w", name, readErr)
	}
	return Info{}, fmt.Errorf("put %s: %w", name, &s3Failure{err})
}

// readBack says whether the object is the one that was put with nonce, even if the
// caller has gone.
func (b *s3Bucket) readBack(ctx context.Context, name, nonce string) (info Info, ours bool, err error) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), readBackTimeout)
	defer cancel()
	out, err := b.api.HeadObject(ctx, &s3.HeadObjectInput{Bucket: &b.bucket, Key: b.key(name)})
	if err != nil {
		if err = s3Error("head", name, err); errors.Is(err, ErrNotExist) {
			err = nil
		}
		return Info{}, false, err
	}
	for k, v := range out.Metadata {
		ours = ours || strings.EqualFold(k, nonceKey) && v == nonce
	}
	return Info{
		Name: name, Size: aws.ToInt64(out.ContentLength), ETag: aws.ToString(out.ETag), Modified: aws.ToTime(out.LastModified),
	}, ours, nil
}

func (b *s3Bucket) List(ctx context.Context, prefix string) iter.Seq2[Info, error] {
	return func(yield func(Info, error) bool) {
		if !listable(prefix) {
			return
		}
		pages := s3.NewListObjectsV2Paginator(b.api, &s3.ListObjectsV2Input{Bucket: &b.bucket, Prefix: b.key(prefix)})
		for pages.HasMorePages() {
			page, err := pages.NextPage(ctx)
			if err != nil {
				yield(Info{}, fmt.Errorf("list %s: %w", prefix, &s3Failure{err}))
				return
			}
			for _, o := range page.Contents {
				name, ok := strings.CutPrefix(aws.ToString(o.Key), b.prefix)
				if !ok || checkName(name) != nil {
					continue // put there by someone else
				}
				info := Info{Name: name, Size: aws.ToInt64(o.Size), ETag: aws.ToString(o.ETag), Modified: aws.ToTime(o.LastModified)}
				if !yield(info, nil) {
					return
				}
			}
		}
	}
}

func (b *s3Bucket) Delete(ctx context.Context, name string) error {
	if err := checkName(name); err != nil {
		return err
	}
	_, err := b.api.DeleteObject(ctx, &s3.DeleteObjectInput{Bucket: &b.bucket, Key: b.key(name)})
	if err != nil {
		if err = s3Error("delete", name, err); errors.Is(err, ErrNotExist) {
			return nil
		}
	}
	return err
}

func (b *s3Bucket) LocalPath(string) (string, bool) { return "", false }

func (b *s3Bucket) URL() string { return strings.TrimSuffix("s3://"+b.bucket+"/"+b.prefix, "/") }
