package server

import (
	"net"
	"net/netip"
	"sync"
)

// A door is a listener that lets in so many connections at once, and so many of one address,
// so that nobody takes them all. One too many is closed at once, without an answer: an answer
// would cost what the limit saves. Addresses of trusted proxies stand for many clients: only
// the limit of all counts for them.
type door struct {
	net.Listener
	total, perAddress int
	trusted           []netip.Prefix
	refused           func()

	mu   sync.Mutex // guards the fields below; nothing blocks under it
	open int
	by   map[netip.Addr]int
}

func newDoor(ln net.Listener, o *Options, refused func()) *door {
	return &door{Listener: ln, total: o.ConnectionsMax, perAddress: o.ConnectionsPerAddressMax, trusted: o.TrustedProxies,
		refused: refused, by: map[netip.Addr]int{}}
}

// Accept waits for a connection that may come in.
func (d *door) Accept() (net.Conn, error) {
	for {
		conn, err := d.Listener.Accept()
		if err != nil {
			return nil, err
		}
		addr := addressOf(conn.RemoteAddr().String())
		if d.enter(addr) {
			return &guest{Conn: conn, door: d, addr: addr}, nil
		}
		d.refused()
		_ = conn.Close()
	}
}

// addressOf is the address without its port.
func addressOf(hostport string) netip.Addr {
	ap, err := netip.ParseAddrPort(hostport)
	if err != nil {
		return netip.Addr{}
	}
	return ap.Addr().Unmap().WithZone("")
}

// clientOf is what an address counts as: IPv6 by the /64 that one client has.
func clientOf(addr netip.Addr) netip.Addr {
	if !addr.Is6() {
		return addr
	}
	p, _ := addr.Prefix(64) // 64 bits fit
	return p.Addr()
}

func (d *door) enter(addr netip.Addr) bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.open >= d.total || d.by[clientOf(addr)] >= d.perAddress && !contains(d.trusted, addr) {
		return false
	}
	d.open++
	d.by[clientOf(addr)]++
	return true
}

func (d *door) leave(addr netip.Addr) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.open--
	addr = clientOf(addr)
	if d.by[addr]--; d.by[addr] == 0 {
		delete(d.by, addr)
	}
}

func contains(prefixes []netip.Prefix, addr netip.Addr) bool {
	for _, p := range prefixes {
		if p.Contains(addr) {
			return true
		}
	}
	return false
}

// A guest is a connection that leaves the door when it is closed.
type guest struct {
	net.Conn
	door *door
	addr netip.Addr
	once sync.Once
}

// Close ends the connection.
func (g *guest) Close() error {
	g.once.Do(func() { g.door.leave(g.addr) })
	return g.Conn.Close()
}
