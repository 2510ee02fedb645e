// SPDX-License-Identifier: MIT

// A client that is not ours: containerd's ttrpc for Go, as Debian packages it, speaks to the daemon.
// Unary calls only; messages are written by hand, so nothing is generated.
//
//	go-peer SOCKET
package main

import (
	"context"
	"fmt"
	"net"
	"os"
	"strings"
	"sync"
	"time"

	"github.com/containerd/ttrpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

const service = "moed.v1.Engine"

type message interface {
	Reset()
	String() string
	ProtoMessage()
}

type HelloRequest struct {
	Client string `protobuf:"bytes,1,opt,name=client,proto3"`
}
type HelloResponse struct {
	Version  string   `protobuf:"bytes,1,opt,name=version,proto3"`
	Features []string `protobuf:"bytes,3,rep,name=features,proto3"`
	BootId   string   `protobuf:"bytes,5,opt,name=boot_id,proto3"`
	Instance []byte   `protobuf:"bytes,6,opt,name=instance_id,proto3"`
	Uid      uint32   `protobuf:"varint,7,opt,name=uid,proto3"`
}
type TokenizeRequest struct {
	Model     string `protobuf:"bytes,1,opt,name=model,proto3"`
	Text      string `protobuf:"bytes,2,opt,name=text,proto3"`
	AddBos    bool   `protobuf:"varint,3,opt,name=add_bos,proto3"`
	NoSpecial bool   `protobuf:"varint,4,opt,name=no_special,proto3"`
}
type TokenizeResponse struct {
	Ids []int32 `protobuf:"varint,1,rep,packed,name=ids,proto3"`
}
type DetokenizeRequest struct {
	Model string  `protobuf:"bytes,1,opt,name=model,proto3"`
	Ids   []int32 `protobuf:"varint,2,rep,packed,name=ids,proto3"`
}
type DetokenizeResponse struct {
	Text string `protobuf:"bytes,1,opt,name=text,proto3"`
	Raw  []byte `protobuf:"bytes,2,opt,name=raw,proto3"`
}

func (m *HelloRequest) Reset()              { *m = HelloRequest{} }
func (m *HelloRequest) String() string      { return m.Client }
func (m *HelloRequest) ProtoMessage()       {}
func (m *HelloResponse) Reset()             { *m = HelloResponse{} }
func (m *HelloResponse) String() string     { return m.Version }
func (m *HelloResponse) ProtoMessage()      {}
func (m *TokenizeRequest) Reset()           { *m = TokenizeRequest{} }
func (m *TokenizeRequest) String() string   { return m.Text }
func (m *TokenizeRequest) ProtoMessage()    {}
func (m *TokenizeResponse) Reset()          { *m = TokenizeResponse{} }
func (m *TokenizeResponse) String() string  { return fmt.Sprint(m.Ids) }
func (m *TokenizeResponse) ProtoMessage()   {}
func (m *DetokenizeRequest) Reset()         { *m = DetokenizeRequest{} }
func (m *DetokenizeRequest) String() string { return fmt.Sprint(m.Ids) }
func (m *DetokenizeRequest) ProtoMessage()  {}
func (m *DetokenizeResponse) Reset()        { *m = DetokenizeResponse{} }
func (m *DetokenizeResponse) String() string {
	return m.Text
}
func (m *DetokenizeResponse) ProtoMessage() {}

var failed int

func call(ctx context.Context, client *ttrpc.Client, service, method string, request, response message) error {
	return client.Call(ctx, service, method, wire(request), wire(response))
}

func check(ok bool, format string, args ...interface{}) {
	if !ok {
		failed++
		fmt.Printf("FAILED "+format+"\n", args...)
	}
}

func roundTrip(client *ttrpc.Client, text string) {
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	var tokens TokenizeResponse
	err := call(ctx, client, service, "Tokenize", &TokenizeRequest{Text: text}, &tokens)
	check(err == nil, "Tokenize: %v", err)
	check(len(tokens.Ids) > 0 || text == "", "no tokens for %q", text)
	var back DetokenizeResponse
	err = call(ctx, client, service, "Detokenize", &DetokenizeRequest{Ids: tokens.Ids}, &back)
	check(err == nil, "Detokenize: %v", err)
	check(back.Text == text && string(back.Raw) == text, "%q came back as %q", text, back.Text)
}

func main() {
	conn, err := net.Dial("unix", os.Args[1])
	if err != nil {
		fmt.Println(err)
		os.Exit(1)
	}
	client := ttrpc.NewClient(conn)
	defer client.Close()

	var hello HelloResponse
	err = call(context.Background(), client, service, "Hello", &HelloRequest{Client: "go-peer"}, &hello)
	check(err == nil, "Hello: %v", err)
	check(hello.Version != "" && len(hello.Instance) == 16 && len(hello.Features) > 0, "Hello: %+v", hello)
	check(hello.Uid == uint32(os.Getuid()), "uid %d", hello.Uid)

	for _, text := range []string{"Hello, world", "", "नमस्ते سلام 你好 🦊", strings.Repeat("long ", 20000)} {
		roundTrip(client, text)
	}
	var group sync.WaitGroup
	for i := 0; i < 50; i++ { // at once, on one connection: answers may overtake each other
		group.Add(1)
		go func(i int) {
			roundTrip(client, fmt.Sprintf("number %d", i))
			group.Done()
		}(i)
	}
	group.Wait()

	var nothing HelloResponse
	err = call(context.Background(), client, service, "Nope", &HelloRequest{}, &nothing)
	check(status.Code(err) == codes.Unimplemented, "Nope: %v", err)
	err = call(context.Background(), client, "x.Y", "Hello", &HelloRequest{}, &nothing)
	check(status.Code(err) == codes.Unimplemented, "x.Y: %v", err)
	var tokens TokenizeResponse
	err = call(context.Background(), client, service, "Tokenize", &TokenizeRequest{Model: "nobody"}, &tokens)
	check(status.Code(err) == codes.NotFound, "nobody: %v", err)

	if failed > 0 {
		os.Exit(1)
	}
	fmt.Printf("go-peer: moed %s answers a Go client\n", hello.Version)
}
