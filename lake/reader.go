package lake

type reader struct{}

func (c *cache) closeReader(e *cached) {}
