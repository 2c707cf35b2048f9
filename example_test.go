package kalamdb_test

import (
	"context"
	"fmt"
	"log"
	"os"

	"kalamdb"
	"kalamdb/auth"
)

// A program opens a database in a folder, asks as its users, and closes it.
func Example() {
	dir, err := os.MkdirTemp("", "kalamdb-example")
	if err != nil {
		log.Fatal(err)
	}
	defer os.RemoveAll(dir)
	ctx := context.Background()
	db, err := kalamdb.Open(ctx, kalamdb.Options{DataDir: dir})
	if err != nil {
		log.Fatal(err)
	}
	defer db.Close()

	operator := auth.Principal{User: "operator", Role: auth.DBA}
	alice := auth.Principal{User: "alice", Role: auth.User}
	if _, err := db.Exec(ctx, kalamdb.Request{As: operator, SQL: `
		CREATE NAMESPACE app;
		CREATE USER TABLE app.messages (id BIGINT AUTO_INCREMENT, text STRING)`}); err != nil {
		log.Fatal(err)
	}

	live, err := db.Subscribe(ctx, kalamdb.SubscribeRequest{As: alice, ConnectionID: "c1", QueryID: "mine", SQL: "SELECT text FROM app.messages"})
	if err != nil {
		log.Fatal(err)
	}
	defer live.Close()
	if _, err := db.Exec(ctx, kalamdb.Request{As: alice, SQL: "INSERT INTO app.messages (text) VALUES ('hello')"}); err != nil {
		log.Fatal(err)
	}
	event, err := live.Next(ctx)
	if err != nil {
		log.Fatal(err)
	}
	fmt.Printf("%s %s\n", event.Change, event.Rows[0])

	for _, user := range []auth.Principal{alice, {User: "bob"}} {
		results, err := db.Exec(ctx, kalamdb.Request{As: user, SQL: "SELECT count(*) AS n FROM app.messages"})
		if err != nil {
			log.Fatal(err)
		}
		fmt.Printf("%s has %d messages\n", user.User, results[0].Rows[0][0].Int())
	}
	// Output:
	// INSERT {"text":"hello"}
	// alice has 1 messages
	// bob has 0 messages
}
