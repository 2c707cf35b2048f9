package kalamdb

import (
	"kalamdb/ingest"
	"kalamdb/lake"
)

// Stats are the numbers of one moment that an operator watches. None of them
// tells about one user.
type Stats struct {
	Buffer      ingest.Stats
	Cache       lake.CacheStats
	LiveQueries int
}

// Stats returns the numbers of this moment. It is cheap enough for every scrape.
func (db *DB) Stats() Stats {
	return Stats{Buffer: db.buffer.Stats(), Cache: db.lake.CacheStats(), LiveQueries: db.hub.Count()}
}
