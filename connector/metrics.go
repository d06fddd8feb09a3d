package connector

import (
	"errors"
	"strings"

	"github.com/prometheus/client_golang/prometheus"

	"godwit/schema/event"
	"godwit/schema/frame"
)

// metrics of a server, all named godwit_connector_*.
type metrics struct {
	accepted, messages, acked, unknown, deliveries, slow      prometheus.Counter
	outputBytes, statuses, statusDropped, notices, unanswered prometheus.Counter
	rejected, logins, closes, kicks, held, refused, voids     *prometheus.CounterVec
	upgraded                                                  prometheus.Counter
	notUpgraded                                               *prometheus.CounterVec
	webSockets                                                prometheus.Gauge
	sessions                                                  *prometheus.GaugeVec
}

func newMetrics(reg prometheus.Registerer, srv *Server) (*metrics, error) {
	var errs []error
	register := func(c prometheus.Collector) {
		if reg != nil {
			errs = append(errs, reg.Register(c))
		}
	}
	const namespace, subsystem = "godwit", "connector"
	counter := func(name, help string) prometheus.Counter {
		c := prometheus.NewCounter(prometheus.CounterOpts{Namespace: namespace, Subsystem: subsystem, Name: name, Help: help})
		register(c)
		return c
	}
	counters := func(name, label, help string) *prometheus.CounterVec {
		c := prometheus.NewCounterVec(prometheus.CounterOpts{Namespace: namespace, Subsystem: subsystem, Name: name, Help: help}, []string{label})
		register(c)
		return c
	}
	m := &metrics{
		accepted:      counter("connections_accepted_total", "Connections accepted."),
		rejected:      counters("connections_rejected_total", "limit", "Connections refused by a limit."),
		logins:        counters("logins_total", "result", "Logins by result."),
		closes:        counters("closes_total", "reason", "Connections closed by reason."),
		kicks:         counters("kicks_total", "reason", "Sessions told with 0x0107 that they lost their place."),
		messages:      counter("messages_received_total", "Messages of clients given to the log."),
		acked:         counter("messages_acked_total", "Messages acknowledged to their senders."),
		voids:         counters("messages_void_total", "reason", "Messages that came to nothing in the log."),
		unknown:       counter("messages_unknown_total", "Messages whose outcome was not heard."),
		refused:       counters("requests_refused_total", "reason", "Requests that a rule said no to."),
		deliveries:    counter("deliveries_total", "Messages delivered to sessions."),
		statuses:      counter("status_notices_total", "Status notices written to sessions."),
		statusDropped: counter("status_notices_dropped_total", "Changes of a status, an avatar or a signature that were not pushed, because too many users are online or too many have changed."),
		notices:       counter("directory_notices_total", "Notices of an avatar or a signature written to sessions."),
		unanswered:    counter("questions_failed_total", "Lists that no view answered; their sessions were closed."),
		slow:          counter("slow_closes_total", "Sessions closed because they did not read."),
		held:          counters("holds_total", "reason", "Times that a session was not read for a while."),
		outputBytes:   counter("output_bytes_total", "Bytes written to clients."),
		upgraded:      counter("websocket_upgrades_total", "Connections accepted that are WebSocket."),
		notUpgraded:   counters("websocket_refused_total", "reason", "Requests for a WebSocket that were refused."),
		webSockets: prometheus.NewGauge(prometheus.GaugeOpts{Namespace: namespace, Subsystem: subsystem, Name: "websocket_connections",
			Help: "Connections open that are WebSocket."}),
		sessions: prometheus.NewGaugeVec(prometheus.GaugeOpts{Namespace: namespace, Subsystem: subsystem, Name: "sessions",
			Help: "Sessions logged in, by device class."}, []string{"class"}),
	}
	register(m.sessions)
	register(m.webSockets)
	register(prometheus.NewGaugeFunc(prometheus.GaugeOpts{Namespace: namespace, Subsystem: subsystem, Name: "connections",
		Help: "Connections open."}, func() float64 { return float64(srv.count()) }))
	register(prometheus.NewGaugeFunc(prometheus.GaugeOpts{Namespace: namespace, Subsystem: subsystem, Name: "appends_pending",
		Help: "Appends of sessions without outcome."}, func() float64 { return float64(srv.pending.Load()) }))
	register(prometheus.NewGaugeFunc(prometheus.GaugeOpts{Namespace: namespace, Subsystem: subsystem, Name: "partial_input_bytes",
		Help: "Bytes of incomplete PDUs kept."}, func() float64 { return float64(srv.partial.Load()) }))
	gauge := func(name, help string, get func() float64) {
		register(prometheus.NewGaugeFunc(prometheus.GaugeOpts{Namespace: namespace, Subsystem: subsystem, Name: name, Help: help}, get))
	}
	gauge("connections_limit", "Connections that are taken at once.", func() float64 { return float64(srv.limits.Connections) })
	gauge("draining", "1 while the server stops: it takes nobody, and its sessions leave.", func() float64 { return flag(srv.draining.Load()) })
	gauge("log_away", "1 while nothing is stored and clients are told so.", func() float64 { return flag(srv.away.Load()) })
	gauge("logins_waiting", "Logins that wait to be looked up.", func() float64 { return float64(srv.logins.waits()) })
	gauge("questions_waiting", "Sessions whose question waits to be asked.", func() float64 { return float64(srv.asks.waits()) })
	gauge("headers_waiting", "Connections of load balancers that don't say yet whose they are.", func() float64 {
		srv.mu.Lock()
		defer srv.mu.Unlock()
		return float64(len(srv.headless))
	})
	if srv.cfg.TLSListen != "" {
		gauge("tls_certificate_expiry_timestamp_seconds", "When the certificate of the TLS port expires.", func() float64 {
			if c := srv.certs.Load(); c != nil {
				return float64(c.Expires().Unix())
			}
			return 0
		})
	}
	return m, errors.Join(errs...)
}

func flag(b bool) float64 {
	if b {
		return 1
	}
	return 0
}

func className(class uint8) string {
	return strings.ToLower(strings.TrimPrefix(event.DeviceClass(class).String(), "DEVICE_CLASS_"))
}

func reasonName(r event.EndReason) string {
	return strings.ToLower(strings.TrimPrefix(r.String(), "END_REASON_"))
}

func voidName(v frame.Void) string {
	return strings.ToLower(strings.TrimPrefix(v.String(), "VOID_"))
}
