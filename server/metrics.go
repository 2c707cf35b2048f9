package server

import (
	"net/http"
	"strconv"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"

	"kalamdb"
)

// metrics are the series of /metrics. None has a label whose values a client
// chooses: routes are the server's own, users never appear.
type metrics struct {
	registry      *prometheus.Registry
	requests      *prometheus.CounterVec
	seconds       *prometheus.HistogramVec
	sockets       prometheus.Gauge
	subscriptions prometheus.Gauge
	ended         *prometheus.CounterVec
	refused       prometheus.Counter
}

func newMetrics(stats func() kalamdb.Stats, more []prometheus.Collector) *metrics {
	m := &metrics{
		registry: prometheus.NewRegistry(),
		requests: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "kalamdb_http_requests_total", Help: "Requests answered."}, []string{"route", "status"}),
		seconds: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name: "kalamdb_http_request_duration_seconds", Help: "From the end of the request's head to the end of the answer.",
			Buckets: []float64{.00025, .0005, .001, .0025, .005, .01, .025, .05, .1, .25, .5, 1, 2.5, 5, 10, 30}}, []string{"route"}),
		sockets: prometheus.NewGauge(prometheus.GaugeOpts{
			Name: "kalamdb_websocket_connections", Help: "Open WebSockets and event streams."}),
		subscriptions: prometheus.NewGauge(prometheus.GaugeOpts{
			Name: "kalamdb_websocket_subscriptions", Help: "Live queries of open WebSockets and event streams."}),
		ended: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "kalamdb_websocket_subscriptions_ended_total", Help: "Live queries the server ended."}, []string{"reason"}),
		refused: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "kalamdb_connections_refused_total", Help: "Connections beyond the limit of all or of one address."}),
	}
	m.registry.MustRegister(m.requests, m.seconds, m.sockets, m.subscriptions, m.ended, m.refused,
		collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	m.registry.MustRegister(databaseStats(stats))
	m.registry.MustRegister(more...)
	return m
}

// request counts one answered request; route is "" for one that no route takes.
func (m *metrics) request(route string, status int, took time.Duration) {
	switch route {
	case "":
		route = "other"
	case routeSocket:
		if status == http.StatusOK {
			status = http.StatusSwitchingProtocols
		}
	}
	m.requests.WithLabelValues(route, strconv.Itoa(status)).Inc()
	if route != routeSocket && route != routeEvents { // the life of a live query is no latency
		m.seconds.WithLabelValues(route).Observe(took.Seconds())
	}
}

// databaseStats are the database's own numbers, asked at each scrape.
type databaseStats func() kalamdb.Stats

// databaseSeries are what databaseStats shows.
var databaseSeries = []struct {
	desc  *prometheus.Desc
	kind  prometheus.ValueType
	value func(s *kalamdb.Stats) float64
}{
	{series("buffer_rows", "Rows in the write buffer."), prometheus.GaugeValue, func(s *kalamdb.Stats) float64 { return float64(s.Buffer.Rows) }},
	{series("buffer_bytes", "Bytes of the rows in the write buffer."), prometheus.GaugeValue, func(s *kalamdb.Stats) float64 { return float64(s.Buffer.Bytes) }},
	{series("buffer_bytes_max", "Bytes at which the buffer refuses writes."), prometheus.GaugeValue, func(s *kalamdb.Stats) float64 { return float64(s.Buffer.BytesMax) }},
	{series("buffer_partitions", "Partitions the buffer knows."), prometheus.GaugeValue, func(s *kalamdb.Stats) float64 { return float64(s.Buffer.Partitions) }},
	{series("change_log_bytes", "Bytes kept for resuming live queries."), prometheus.GaugeValue, func(s *kalamdb.Stats) float64 { return float64(s.Buffer.ChangeLogBytes) }},
	{series("disk_low", "1 while writes are refused for want of disk space."), prometheus.GaugeValue, func(s *kalamdb.Stats) float64 {
		if s.Buffer.DiskLow {
			return 1
		}
		return 0
	}},
	{series("durable_seq", "The durable watermark."), prometheus.CounterValue, func(s *kalamdb.Stats) float64 { return float64(s.Buffer.Durable) }},
	{series("commits_total", "Commits since the start."), prometheus.CounterValue, func(s *kalamdb.Stats) float64 { return float64(s.Buffer.Commits) }},
	{series("flush_failures_total", "Flushes that failed since the start; each is tried again."), prometheus.CounterValue, func(s *kalamdb.Stats) float64 { return float64(s.Buffer.FlushFailures) }},
	{series("cache_hits_total", "Parquet files that were in the cache when a statement needed them."), prometheus.CounterValue, func(s *kalamdb.Stats) float64 { return float64(s.Cache.Hits) }},
	{series("cache_misses_total", "Parquet files that were not."), prometheus.CounterValue, func(s *kalamdb.Stats) float64 { return float64(s.Cache.Misses) }},
	{series("cache_gets_total", "Requests for Parquet files and parts of them; a folder of this machine is linked instead."), prometheus.CounterValue, func(s *kalamdb.Stats) float64 { return float64(s.Cache.Gets) }},
	{series("cache_parts_total", "Parquet files of which a part was fetched."), prometheus.CounterValue, func(s *kalamdb.Stats) float64 { return float64(s.Cache.Parts) }},
	{series("cache_fetched_bytes_total", "Bytes of Parquet files read from the bucket."), prometheus.CounterValue, func(s *kalamdb.Stats) float64 { return float64(s.Cache.Fetched) }},
	{series("cache_evictions_total", "Parquet files removed from the cache to make room."), prometheus.CounterValue, func(s *kalamdb.Stats) float64 { return float64(s.Cache.Evicted) }},
	{series("cache_files", "Parquet files in the cache."), prometheus.GaugeValue, func(s *kalamdb.Stats) float64 { return float64(s.Cache.Files) }},
	{series("cache_bytes", "Bytes of Parquet files in the cache."), prometheus.GaugeValue, func(s *kalamdb.Stats) float64 { return float64(s.Cache.Bytes) }},
	{series("cache_bytes_max", "Bytes beyond which files nobody reads leave the cache."), prometheus.GaugeValue, func(s *kalamdb.Stats) float64 { return float64(s.Cache.BytesMax) }},
	{series("live_queries", "Registered live queries."), prometheus.GaugeValue, func(s *kalamdb.Stats) float64 { return float64(s.LiveQueries) }},
}

func series(name, help string) *prometheus.Desc {
	return prometheus.NewDesc("kalamdb_"+name, help, nil, nil)
}

func (databaseStats) Describe(to chan<- *prometheus.Desc) {
	for _, s := range databaseSeries {
		to <- s.desc
	}
}

func (ask databaseStats) Collect(to chan<- prometheus.Metric) {
	now := ask()
	for _, s := range databaseSeries {
		to <- prometheus.MustNewConstMetric(s.desc, s.kind, s.value(&now))
	}
}
