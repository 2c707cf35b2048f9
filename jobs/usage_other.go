//go:build !unix

package jobs

import "time"

// processCPU is the processor time the process has used, unknown here.
func processCPU() time.Duration { return 0 }
