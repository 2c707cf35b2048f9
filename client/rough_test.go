package client_test

import (
	"math/rand/v2"
	"net"
	"sync"
	"testing"
	"time"
)

// A roughProxy passes TCP connections on to a server, and while it is harsh it cuts
// them, stalls them without a word and delays them, at any byte.
type roughProxy struct {
	ln      net.Listener
	running sync.WaitGroup

	// mu guards the fields below.
	mu     sync.Mutex
	rng    *rand.Rand
	target string
	calm   chan struct{} // closed while the proxy is not harsh
	conns  map[net.Conn]struct{}
	faults map[string]int
}

func newRoughProxy(t *testing.T, seed uint64) *roughProxy {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	p := &roughProxy{ln: ln, rng: rand.New(rand.NewPCG(seed, 2)), calm: make(chan struct{}), conns: map[net.Conn]struct{}{}, faults: map[string]int{}}
	close(p.calm)
	p.running.Go(p.accept)
	t.Cleanup(func() {
		ln.Close()
		p.soothe()
		p.cutAll()
		p.running.Wait()
	})
	return p
}

func (p *roughProxy) url() string { return "http://" + p.ln.Addr().String() }

func (p *roughProxy) accept() {
	for {
		in, err := p.ln.Accept()
		if err != nil {
			return
		}
		p.mu.Lock()
		target := p.target
		p.mu.Unlock()
		out, err := net.Dial("tcp", target)
		if err != nil {
			in.Close()
			continue
		}
		p.mu.Lock()
		p.conns[in], p.conns[out] = struct{}{}, struct{}{}
		p.mu.Unlock()
		p.running.Go(func() { p.pass(in, out) })
		p.running.Go(func() { p.pass(out, in) })
	}
}

func (p *roughProxy) pass(from, to net.Conn) {
	defer func() {
		from.Close()
		to.Close()
		p.mu.Lock()
		defer p.mu.Unlock()
		delete(p.conns, from)
		delete(p.conns, to)
	}()
	buf := make([]byte, 4096)
	for {
		n, err := from.Read(buf)
		if err != nil {
			return
		}
		keep := p.spoil(n)
		if _, err := to.Write(buf[:keep]); err != nil || keep < n {
			return
		}
	}
}

// spoil holds n bytes up for as long as it likes and says how many of them go on; the
// connection is cut after less than all.
func (p *roughProxy) spoil(n int) (keep int) {
	p.mu.Lock()
	roll, part, calm := p.rng.IntN(1000), p.rng.IntN(n), p.calm
	name := ""
	select {
	case <-calm:
	default:
		switch {
		case roll < 60:
			name = "cut"
		case roll < 80:
			name = "stalled"
		case roll < 250:
			name = "delayed"
		}
		p.faults[name]++
	}
	p.mu.Unlock()
	var late <-chan time.Time
	switch name {
	case "cut":
		return part
	case "delayed":
		late = time.After(time.Duration(part%20) * time.Millisecond)
	case "stalled":
	default:
		return n
	}
	select {
	case <-calm:
	case <-late:
	}
	return n
}

func (p *roughProxy) enrage() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.calm = make(chan struct{})
}

func (p *roughProxy) soothe() {
	p.mu.Lock()
	defer p.mu.Unlock()
	select {
	case <-p.calm:
	default:
		close(p.calm)
	}
}

// cutAll ends every connection.
func (p *roughProxy) cutAll() {
	p.mu.Lock()
	defer p.mu.Unlock()
	for c := range p.conns {
		c.Close()
	}
}

// leadTo sends new connections to another server.
func (p *roughProxy) leadTo(address string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.target = address
}
