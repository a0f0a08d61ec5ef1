// Package tinydancer decides in microseconds which model answers a request, which candidates are worth passing on, and
// which agent does the work. It is a page of conversion over the C library of Tiny Dancer; build it with `make c` and
// name its folder to pkg-config:
//
//	PKG_CONFIG_PATH=target/c/lib/pkgconfig go build ./...
//
// Requests, options and answers are JSON, as the guide docs/guides/embed.md has them. Objects may be used by many
// goroutines at once; Close waits for their calls.
package tinydancer

/*
#cgo pkg-config: tiny_dancer
#include <tiny_dancer.h>
*/
import "C"

import (
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"runtime"
	"sync"
	"unsafe"
)

// Error is what was refused: its kind, such as "OptionInvalid", the field at fault, what was found there, and what to
// do about it.
type Error struct {
	Code   string `json:"code"`
	Field  string `json:"field"`
	Value  string `json:"value"`
	Remedy string `json:"remedy"`
}

func (err *Error) Error() string {
	return fmt.Sprintf("%s: %s; %s", err.Field, err.Value, err.Remedy)
}

func init() {
	if C.td_abi_version() != C.TD_ABI_VERSION {
		panic("tinydancer: the library is of another version than the header it was built with")
	}
}

// do makes a call. What is said of its error is kept for the thread it was made in, so that it is read in the same one.
func do(call func() C.td_code) error {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	if call() == C.TD_CODE_OK {
		return nil
	}
	var detail C.td_text
	if C.td_error_json(&detail) != C.TD_CODE_OK {
		return errors.New("tinydancer: out of memory")
	}
	defer C.td_text_free(&detail)
	var found Error
	if err := json.Unmarshal([]byte(textOf(&detail)), &found); err != nil {
		return err
	}
	return &found
}

// ask makes a call that gives a text.
func ask(call func(answer *C.td_text) C.td_code) (string, error) {
	var answer C.td_text
	if err := do(func() C.td_code { return call(&answer) }); err != nil {
		return "", err
	}
	defer C.td_text_free(&answer)
	return textOf(&answer), nil
}

func textOf(text *C.td_text) string {
	return string(unsafe.Slice((*byte)(unsafe.Pointer(text.data)), int(text.length)))
}

func chars(text string) (*C.char, C.size_t) {
	return (*C.char)(unsafe.Pointer(unsafe.StringData(text))), C.size_t(len(text))
}

func bytesOf(data []byte) (*C.uint8_t, C.size_t) {
	return (*C.uint8_t)(unsafe.Pointer(unsafe.SliceData(data))), C.size_t(len(data))
}

func floats(data []float32) (*C.float, C.size_t) {
	return (*C.float)(unsafe.Pointer(unsafe.SliceData(data))), C.size_t(len(data))
}

// held is an object of the library, which is freed once, when no call uses it.
type held[T any] struct {
	mutex  sync.RWMutex
	object T
	free   func(*T)
}

// use calls with the object, which is nil once it is closed, and where it was never made: the library then says so.
func (held *held[T]) use(call func(object T) C.td_code) error {
	if held == nil {
		var none T
		return do(func() C.td_code { return call(none) })
	}
	held.mutex.RLock()
	defer held.mutex.RUnlock()
	return do(func() C.td_code { return call(held.object) })
}

func (held *held[T]) ask(call func(object T, answer *C.td_text) C.td_code) (string, error) {
	if held == nil {
		var none T
		return ask(func(answer *C.td_text) C.td_code { return call(none, answer) })
	}
	held.mutex.RLock()
	defer held.mutex.RUnlock()
	return ask(func(answer *C.td_text) C.td_code { return call(held.object, answer) })
}

// Close frees it; twice does no harm, nor where it was never made, so that it may be deferred before the error is looked at.
func (held *held[T]) Close() {
	if held == nil {
		return
	}
	held.mutex.Lock()
	defer held.mutex.Unlock()
	held.free(&held.object)
}

// made keeps an object that was made, and frees it with its holder, should nobody close that.
func made[T any](free func(*T), make func(object *T) C.td_code) (*held[T], error) {
	found := &held[T]{free: free}
	if err := do(func() C.td_code { return make(&found.object) }); err != nil {
		return nil, err
	}
	runtime.SetFinalizer(found, func(lost *held[T]) { lost.Close() })
	return found, nil
}

// Encoder makes embeddings of texts; objects share it.
type Encoder struct{ *held[*C.td_encoder] }

// LoadEncoder loads an encoder from its bytes.
func LoadEncoder(data []byte) (*Encoder, error) {
	found, err := made(func(object **C.td_encoder) { C.td_encoder_free(object) },
		func(object **C.td_encoder) C.td_code {
			at, length := bytesOf(data)
			return C.td_encoder_load(at, length, object)
		})
	return &Encoder{found}, err
}

// with calls with the encoder, or with none.
func (encoder *Encoder) with(call func(object *C.td_encoder) C.td_code) C.td_code {
	if encoder == nil || encoder.held == nil {
		return call(nil)
	}
	encoder.mutex.RLock()
	defer encoder.mutex.RUnlock()
	return call(encoder.object)
}

// Router decides which model answers a request.
type Router struct{ *held[*C.td_router] }

// RouterOptions say how a router is loaded.
type RouterOptions struct {
	// Encoder, where the artifact needs one.
	Encoder *Encoder
	// Changes of the models, as JSON: a list of objects, one a model.
	Changes string
	// Breaker as JSON; "{}" for its defaults. With one, stated rules or the default model decide while the engine
	// fails, and the answer names its level. Without, what goes wrong is an error.
	Breaker string
}

// breaker is NULL where none is asked for.
func breaker(options string) (*C.char, C.size_t) {
	if options == "" {
		return nil, 0
	}
	return chars(options)
}

// LoadRouter loads a router from an artifact's bytes.
func LoadRouter(artifact []byte, options RouterOptions) (*Router, error) {
	found, err := made(func(object **C.td_router) { C.td_router_free(object) },
		func(object **C.td_router) C.td_code {
			data, length := bytesOf(artifact)
			changes, changesLength := chars(options.Changes)
			breaker, breakerLength := breaker(options.Breaker)
			return options.Encoder.with(func(encoder *C.td_encoder) C.td_code {
				return C.td_router_load(data, length, encoder, changes, changesLength, breaker, breakerLength, object)
			})
		})
	return &Router{found}, err
}

// Decide decides a request, JSON as clients send it; options are JSON, or empty. The answer is JSON.
func (router *Router) Decide(request, options string) (string, error) {
	return router.ask(func(object *C.td_router, answer *C.td_text) C.td_code {
		asked, length := chars(request)
		with, optionsLength := chars(options)
		return C.td_router_decide(object, asked, length, with, optionsLength, answer)
	})
}

// Reload serves another artifact from the next call on; where it cannot be loaded, the one that serves goes on.
func (router *Router) Reload(artifact []byte) error {
	return router.use(func(object *C.td_router) C.td_code {
		data, length := bytesOf(artifact)
		return C.td_router_reload(object, data, length)
	})
}

// Status says how the router and its breaker stand, as JSON.
func (router *Router) Status() (string, error) {
	return router.ask(func(object *C.td_router, answer *C.td_text) C.td_code {
		return C.td_router_status(object, answer)
	})
}

// Routes tell which intent a text has, if any.
type Routes struct{ *held[*C.td_routes] }

// LoadRoutes loads routes from an artifact's bytes.
func LoadRoutes(artifact []byte, encoder *Encoder) (*Routes, error) {
	found, err := made(func(object **C.td_routes) { C.td_routes_free(object) },
		func(object **C.td_routes) C.td_code {
			data, length := bytesOf(artifact)
			return encoder.with(func(encoder *C.td_encoder) C.td_code {
				return C.td_routes_load(data, length, encoder, object)
			})
		})
	return &Routes{found}, err
}

// Decide routes a request, JSON with text or vector.
func (routes *Routes) Decide(request, options string) (string, error) {
	return routes.ask(func(object *C.td_routes, answer *C.td_text) C.td_code {
		asked, length := chars(request)
		with, optionsLength := chars(options)
		return C.td_routes_decide(object, asked, length, with, optionsLength, answer)
	})
}

// Tools tell which of many a request needs.
type Tools struct{ *held[*C.td_tools] }

// NewTools makes an empty set of tools, with what was learned of use, or nil.
func NewTools(learned []byte, encoder *Encoder) (*Tools, error) {
	found, err := made(func(object **C.td_tools) { C.td_tools_free(object) },
		func(object **C.td_tools) C.td_code {
			data, length := bytesOf(learned)
			return encoder.with(func(encoder *C.td_encoder) C.td_code {
				return C.td_tools_new(data, length, encoder, object)
			})
		})
	return &Tools{found}, err
}

// Add adds tools, JSON in any dialect, and gives the list of their ids.
func (tools *Tools) Add(given string) (string, error) {
	return tools.ask(func(object *C.td_tools, answer *C.td_text) C.td_code {
		data, length := chars(given)
		return C.td_tools_add(object, data, length, answer)
	})
}

// Select selects the tools a request needs.
func (tools *Tools) Select(query string) (string, error) {
	return tools.ask(func(object *C.td_tools, answer *C.td_text) C.td_code {
		data, length := chars(query)
		return C.td_tools_select(object, data, length, answer)
	})
}

// Agents tell which of many answers a request.
type Agents struct{ *held[*C.td_agents] }

// NewAgents makes an empty set of agents; what was observed counts half after so many seconds, or for ever the same
// where that is NaN.
func NewAgents(halfLife float64) (*Agents, error) {
	found, err := made(func(object **C.td_agents) { C.td_agents_free(object) },
		func(object **C.td_agents) C.td_code { return C.td_agents_new(C.double(halfLife), object) })
	return &Agents{found}, err
}

// Ageless is the half-life of what never ages.
func Ageless() float64 { return math.NaN() }

// Put puts agents in, JSON: one, or a list of them.
func (agents *Agents) Put(given string) error {
	return agents.use(func(object *C.td_agents) C.td_code {
		data, length := chars(given)
		return C.td_agents_put(object, data, length)
	})
}

// Choose chooses an agent for a query.
func (agents *Agents) Choose(query string) (string, error) {
	return agents.ask(func(object *C.td_agents, answer *C.td_text) C.td_code {
		data, length := chars(query)
		return C.td_agents_choose(object, data, length, answer)
	})
}

// Observe counts an outcome and gives the agent's state after it.
func (agents *Agents) Observe(state, outcome string) (string, error) {
	return agents.ask(func(object *C.td_agents, answer *C.td_text) C.td_code {
		before, length := chars(state)
		what, outcomeLength := chars(outcome)
		return C.td_agents_observe(object, before, length, what, outcomeLength, answer)
	})
}

// Tasks tell what a request asks for, and what it takes.
type Tasks struct{ *held[*C.td_tasks] }

// LoadTasks loads a classifier of tasks from an artifact's bytes.
func LoadTasks(artifact []byte, encoder *Encoder) (*Tasks, error) {
	found, err := made(func(object **C.td_tasks) { C.td_tasks_free(object) },
		func(object **C.td_tasks) C.td_code {
			data, length := bytesOf(artifact)
			return encoder.with(func(encoder *C.td_encoder) C.td_code {
				return C.td_tasks_load(data, length, encoder, object)
			})
		})
	return &Tasks{found}, err
}

// Classify classifies a request, JSON with text.
func (tasks *Tasks) Classify(request string) (string, error) {
	return tasks.ask(func(object *C.td_tasks, answer *C.td_text) C.td_code {
		data, length := chars(request)
		return C.td_tasks_classify(object, data, length, answer)
	})
}

// Candidates are ranked: which are worth passing on.
type Candidates struct{ *held[*C.td_candidates] }

// NewCandidates makes an empty set, ranked by the scorer of an artifact, or by the combination without training where
// that is nil; breaker as in RouterOptions.
func NewCandidates(scorer []byte, encoder *Encoder, breakerOptions string) (*Candidates, error) {
	found, err := made(func(object **C.td_candidates) { C.td_candidates_free(object) },
		func(object **C.td_candidates) C.td_code {
			data, length := bytesOf(scorer)
			options, optionsLength := breaker(breakerOptions)
			return encoder.with(func(encoder *C.td_encoder) C.td_code {
				return C.td_candidates_new(data, length, encoder, options, optionsLength, object)
			})
		})
	return &Candidates{found}, err
}

// Add adds candidates, a JSON list; embeddings, if any, beside it: one row a candidate, one after the other.
func (candidates *Candidates) Add(given string, embeddings []float32) error {
	return candidates.use(func(object *C.td_candidates) C.td_code {
		data, length := chars(given)
		rows, numbers := floats(embeddings)
		return C.td_candidates_add(object, data, length, rows, numbers)
	})
}

// Rank ranks them for a query, JSON; its embedding, if any, beside it.
func (candidates *Candidates) Rank(query string, embedding []float32) (string, error) {
	return candidates.ask(func(object *C.td_candidates, answer *C.td_text) C.td_code {
		data, length := chars(query)
		numbers, dimensions := floats(embedding)
		return C.td_candidates_rank(object, data, length, numbers, dimensions, answer)
	})
}

// AddVectors adds candidates by their embeddings alone, rows of as many dimensions; they are known by their rows.
func (candidates *Candidates) AddVectors(embeddings []float32, dimensions int) error {
	count := 0
	if dimensions > 0 {
		count = len(embeddings) / dimensions
	}
	if count*dimensions != len(embeddings) {
		return &Error{"ArgumentInvalid", "embeddings", fmt.Sprint(len(embeddings)), "give whole rows"}
	}
	return candidates.use(func(object *C.td_candidates) C.td_code {
		rows, _ := floats(embeddings)
		return C.td_candidates_add_vectors(object, nil, rows, C.size_t(count), C.size_t(dimensions))
	})
}

// Ranked is one candidate of an answer: the row it was added in, and what is said of it.
type Ranked struct {
	Row                            int
	Score, Confidence, Uncertainty float32
	UseLightweight                 bool
}

// RankVector ranks them by the query's embedding alone, and gives at most k, best first, and the level that answered:
// 0 the scorer, 2 and 3 what stood in for it.
func (candidates *Candidates) RankVector(query []float32, k int) ([]Ranked, int, error) {
	if k < 1 || k > 100_000 {
		return nil, 0, &Error{"OptionInvalid", "k", fmt.Sprint(k), "give a whole number from 1 to 100,000"}
	}
	found := make([]C.td_ranked, k)
	var ranking C.td_ranking
	err := candidates.use(func(object *C.td_candidates) C.td_code {
		numbers, dimensions := floats(query)
		room := unsafe.SliceData(found)
		return C.td_candidates_rank_vector(object, numbers, dimensions, nil, room, C.size_t(k), &ranking)
	})
	ranked := make([]Ranked, int(ranking.count))
	for place := range ranked {
		one := found[place]
		ranked[place] = Ranked{int(one.row), float32(one.score), float32(one.confidence), float32(one.uncertainty),
			bool(one.use_lightweight)}
	}
	return ranked, int(ranking.level), err
}
