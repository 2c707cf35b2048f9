package server

import (
	"bytes"
	"embed"
	"net/http"
	"strings"
	"time"
)

// openAPI describes HTTP and WebSocket; a test holds it to the routes.
//
//go:embed openapi.json
var openAPI []byte

//go:embed console/index.html console/console.js console/console.css
var console embed.FS

// serveConsole answers with a file of the web console, which loads nothing from
// anywhere else.
func (s *Server) serveConsole(w http.ResponseWriter, r *http.Request) {
	name := strings.TrimPrefix(r.URL.Path, "/console/")
	if name == "" {
		name = "index.html"
	}
	file, err := console.ReadFile("console/" + name)
	if err != nil {
		s.notFound(w, r)
		return
	}
	h := w.Header()
	h.Set("Cache-Control", "no-cache")
	h.Set("Content-Security-Policy", "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'")
	if s.secure() {
		h.Set("Strict-Transport-Security", "max-age=31536000")
	}
	h.Set("Referrer-Policy", "no-referrer")
	http.ServeContent(w, r, name, time.Time{}, bytes.NewReader(file))
}
