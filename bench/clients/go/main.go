// go-amqp: the same command line and answer as the programs in ../python; see task.py there.
package main

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"log"
	"net/url"
	"os"
	"runtime/debug"
	"strconv"
	"time"

	"github.com/Azure/go-amqp"
)

const credit = 1000

type task struct {
	operation, address string
	count, size        int
}

func must[T any](value T, err error) T {
	if err != nil {
		log.Fatal(err)
	}
	return value
}

func finish(begun time.Time, tally int) {
	fmt.Printf("%.6f %d\n", time.Since(begun).Seconds(), tally)
}

func accepted(state amqp.DeliveryState) int {
	if _, is := state.(*amqp.StateAccepted); is {
		return 1
	}
	return 0
}

func send(ctx context.Context, session *amqp.Session, t task) {
	sender := must(session.NewSender(ctx, t.address, nil))
	body := bytes.Repeat([]byte("x"), t.size)
	receipts := make(chan amqp.SendReceipt, credit)
	begun := time.Now()
	go func() {
		for range t.count {
			receipts <- must(sender.SendWithReceipt(ctx, amqp.NewMessage(body), nil))
		}
		close(receipts)
	}()
	tally := 0
	for receipt := range receipts {
		tally += accepted(must(receipt.Wait(ctx)))
	}
	finish(begun, tally)
}

func sendOne(ctx context.Context, session *amqp.Session, t task) {
	sender := must(session.NewSender(ctx, t.address, nil))
	body := bytes.Repeat([]byte("x"), t.size)
	begun := time.Now()
	for range t.count {
		if err := sender.Send(ctx, amqp.NewMessage(body), nil); err != nil {
			log.Fatal(err)
		}
	}
	finish(begun, t.count)
}

func receive[T any](ctx context.Context, session *amqp.Session, t task, read func(*amqp.Message) T, tally func(T) int) {
	begun := time.Now()
	options := &amqp.ReceiverOptions{Credit: int32(min(credit, t.count))}
	receiver := must(session.NewReceiver(ctx, t.address, options))
	var seen T
	for range t.count {
		message := must(receiver.Receive(ctx, nil))
		seen = read(message)
		if err := receiver.AcceptMessage(ctx, message); err != nil {
			log.Fatal(err)
		}
	}
	finish(begun, tally(seen))
}

type rich struct {
	texts    [6]string
	created  time.Time
	region   string
	quantity int32
	express  bool
	body     []byte
}

func readRich(message *amqp.Message) rich {
	p, a := message.Properties, message.ApplicationProperties
	return rich{
		texts: [6]string{
			p.MessageID.(string), *p.To, *p.Subject, *p.ReplyTo, p.CorrelationID.(string), *p.ContentType,
		},
		created:  *p.CreationTime,
		region:   a["region"].(string),
		quantity: a["quantity"].(int32),
		express:  a["express"].(bool),
		body:     message.GetData(),
	}
}

func richTally(seen rich) int {
	tally := int(seen.created.UnixMilli()/1_000_000_000) + len(seen.region) + int(seen.quantity) + len(seen.body)
	for _, text := range seen.texts {
		tally += len(text)
	}
	if seen.express {
		tally++
	}
	return tally
}

func run(ctx context.Context, session *amqp.Session, t task) {
	switch t.operation {
	case "send":
		send(ctx, session, t)
	case "send-one":
		sendOne(ctx, session, t)
	case "receive":
		receive(ctx, session, t, (*amqp.Message).GetData, func(body []byte) int { return len(body) })
	case "receive-rich":
		receive(ctx, session, t, readRich, richTally)
	default:
		log.Fatalf("there is no operation %s", t.operation)
	}
}

func version() string {
	info, _ := debug.ReadBuildInfo()
	for _, module := range info.Deps {
		if module.Path == "github.com/Azure/go-amqp" {
			return module.Version
		}
	}
	return "unknown"
}

func main() {
	arguments := os.Args[1:]
	if len(arguments) == 1 && arguments[0] == "version" {
		fmt.Println(version())
		return
	}
	if len(arguments) < 4 {
		log.Fatal("usage: bench OPERATION URL COUNT SIZE [CA]")
	}
	place := must(url.Parse(arguments[1]))
	options := &amqp.ConnOptions{SASLType: amqp.SASLTypeAnonymous()}
	if len(arguments) > 4 {
		authorities := x509.NewCertPool()
		authorities.AppendCertsFromPEM(must(os.ReadFile(arguments[4])))
		options.TLSConfig = &tls.Config{RootCAs: authorities, ServerName: place.Hostname()}
	}
	ctx := context.Background()
	connection := must(amqp.Dial(ctx, place.Scheme+"://"+place.Host, options))
	defer connection.Close()
	t := task{arguments[0], place.Path[1:], must(strconv.Atoi(arguments[2])), must(strconv.Atoi(arguments[3]))}
	run(ctx, must(connection.NewSession(ctx, nil)), t)
}
