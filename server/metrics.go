package server

import (
	"strconv"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
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
}

func newMetrics(more []prometheus.Collector) *metrics {
	m := &metrics{
		registry: prometheus.NewRegistry(),
		requests: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "kalamdb_http_requests_total", Help: "Requests answered."}, []string{"route", "status"}),
		seconds: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name: "kalamdb_http_request_duration_seconds", Help: "From the end of the request's head to the end of the answer.",
			Buckets: []float64{.00025, .0005, .001, .0025, .005, .01, .025, .05, .1, .25, .5, 1, 2.5, 5, 10, 30}}, []string{"route"}),
		sockets: prometheus.NewGauge(prometheus.GaugeOpts{
			Name: "kalamdb_websocket_connections", Help: "Open WebSockets."}),
		subscriptions: prometheus.NewGauge(prometheus.GaugeOpts{
			Name: "kalamdb_websocket_subscriptions", Help: "Live queries of open WebSockets."}),
		ended: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "kalamdb_websocket_subscriptions_ended_total", Help: "Live queries the server ended."}, []string{"reason"}),
	}
	m.registry.MustRegister(m.requests, m.seconds, m.sockets, m.subscriptions, m.ended,
		collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	m.registry.MustRegister(more...)
	return m
}

// request counts one answered request; route is "" for one that no route takes.
func (m *metrics) request(route string, status int, took time.Duration) {
	if route == "" {
		route = "other"
	}
	m.requests.WithLabelValues(route, strconv.Itoa(status)).Inc()
	if route != routeSocket { // a WebSocket's life is no latency
		m.seconds.WithLabelValues(route).Observe(took.Seconds())
	}
}
