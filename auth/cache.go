package auth

import (
	"crypto/sha256"
	"sync"
)

// A cache remembers verified tokens by the hash of the token, so that the tokens
// themselves do not stay in memory.
//
// It has two generations. New and used entries are in young; when young is full it
// becomes old and the old old is dropped. So it never holds more than two
// generations, and a token in use survives.
type cache struct {
	mu         sync.RWMutex // guards both maps; nothing blocks under it
	young, old map[[sha256.Size]byte]Principal
	youngMax   int
}

// newCache makes a cache of at most max entries.
func newCache(max int) *cache {
	return &cache{young: map[[sha256.Size]byte]Principal{}, youngMax: max / 2}
}

func (c *cache) get(sum [sha256.Size]byte) (Principal, bool) {
	c.mu.RLock()
	p, young := c.young[sum]
	old := false
	if !young {
		p, old = c.old[sum]
	}
	c.mu.RUnlock()
	if old {
		c.put(sum, p)
	}
	return p, young || old
}

func (c *cache) put(sum [sha256.Size]byte, p Principal) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if len(c.young) >= c.youngMax {
		c.old, c.young = c.young, make(map[[sha256.Size]byte]Principal)
	}
	c.young[sum] = p
}
