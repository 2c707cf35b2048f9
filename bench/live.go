package main

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"time"

	"github.com/gorilla/websocket"
)

const pacedWrites = 200 * time.Microsecond

// benchLive has one writer and one subscriber of the same user, and measures from
// the begin of the write call to the arrival of its event.
func benchLive(ctx context.Context, bin string, length time.Duration, rep *report) error {
	s, err := startServer(ctx, bin)
	if err != nil {
		return err
	}
	defer s.stop()
	c, err := dial(s)
	if err != nil {
		return err
	}
	defer c.close()
	if err := c.sql(createTable); err != nil {
		return err
	}
	ws, err := subscribe(ctx, s)
	if err != nil {
		return err
	}
	defer ws.Close()

	arrived := make(chan arrival, 1<<16)
	go receive(ws, arrived) // ends with ws.Close

	var writes, events []time.Duration
	start := time.Now()
	lost := 0
	for n := int64(1); time.Since(start) < length && ctx.Err() == nil; n++ {
		t := time.Now()
		if _, err := c.post(insertBody(n)); err != nil {
			return err
		}
		writes = append(writes, time.Since(t))
		select {
		case a := <-arrived:
			if a.n != n {
				return fmt.Errorf("event %d arrived, expected %d", a.n, n)
			}
			events = append(events, a.at.Sub(t))
		case <-time.After(2 * time.Second):
			lost++
		}
		time.Sleep(pacedWrites)
	}
	w, e, e99 := quantile(writes, 0.5), quantile(events, 0.5), quantile(events, 0.99)
	rep.value("write call → event p50", e.String(), "write p50 "+w.String(), "≤ write p50 + 1ms", e <= w+time.Millisecond)
	rep.value("write call → event p99", e99.String(), "write p99 "+quantile(writes, 0.99).String(), "≤ 10ms", e99 <= 10*time.Millisecond)
	rep.value("events lost", fmt.Sprint(lost), fmt.Sprintf("of %d writes", len(writes)), "0", lost == 0)
	return nil
}

type arrival struct {
	n  int64
	at time.Time
}

func subscribe(ctx context.Context, s *server) (*websocket.Conn, error) {
	ws, _, err := websocket.DefaultDialer.DialContext(ctx, "ws://"+s.addr+"/ws", http.Header{"Authorization": {"Bearer " + s.token}})
	if err != nil {
		return nil, err
	}
	err = ws.WriteJSON(map[string]any{"type": "subscribe", "subscriptions": []any{map[string]any{"query_id": "bench", "sql": "SELECT * FROM app.bench"}}})
	if err != nil {
		return nil, err
	}
	var frame struct{ Type, Message string }
	if err := ws.ReadJSON(&frame); err != nil {
		return nil, err
	}
	if frame.Type != "subscribed" {
		return nil, fmt.Errorf("%s frame, expected subscribed: %s", frame.Type, frame.Message)
	}
	return ws, nil
}

func receive(ws *websocket.Conn, arrived chan<- arrival) {
	for {
		_, msg, err := ws.ReadMessage()
		at := time.Now()
		if err != nil {
			return
		}
		var frame struct {
			Type string
			Rows []struct{ N int64 }
		}
		if json.Unmarshal(msg, &frame) == nil && frame.Type == "change" {
			for _, r := range frame.Rows {
				arrived <- arrival{r.N, at}
			}
		}
	}
}
