package query

/*
#include <stdlib.h>
void kalamdb_scan_bind(void *);
void kalamdb_scan_init(void *);
void kalamdb_scan_fill(void *, void *);
void kalamdb_handle_free(void *);
*/
import "C"

import (
	"errors"
	"fmt"
	"runtime/cgo"
	"unsafe"

	"github.com/duckdb/duckdb-go/v2/mapping"

	"kalamdb/row"
)

// scanFunction is the table function through which buffered rows enter DuckDB. Its
// argument is a position in the sources of the statement that runs on the calling
// connection; no other rows can be reached through it, and the gate refuses its name.
const scanFunction = "kalamdb_rows"

// A source is one stream of rows for the scan function.
type source struct {
	columns []scanColumn
	rows    int // an estimate, for the optimizer
	next    nextRows
	// project, if there is one, is next for those who look only at the values at the given
	// positions of Row.Values.
	project func(values []int) nextRows
	// places says per column where its values are: the position in Row.Values, or one
	// of the place… constants.
	places []int
}

// A nextRows calls yield for up to max rows behind the key `after` (nil: from the start)
// and says whether there may be more. Key and row are reused.
type nextRows func(after []byte, max int, yield func(key []byte, r *row.Row)) (more bool, err error)

// A scanColumn is one column of a source.
type scanColumn struct {
	name string
	typ  row.Type
}

const (
	placeSeq     = -1
	placeUpdated = -2
	placeDeleted = -3
	placeOrdinal = -4 // the number of the row in the scan
)

// A scanState is one run of a source. DuckDB may run a source more than once per
// statement (a recursive CTE, a self-join), so nothing of it lives in the source.
type scanState struct {
	st        *statement
	src       *source
	next      nextRows
	projected []int // column of the source per output vector, -1: none
	after     []byte
	ordinal   int64
	done      bool
	writers   []vectorWriter // per output vector
}

// newHandle keeps v alive for C until kalamdb_handle_free.
func newHandle(v any) unsafe.Pointer {
	p := C.malloc(C.size_t(unsafe.Sizeof(cgo.Handle(0))))
	*(*cgo.Handle)(p) = cgo.NewHandle(v)
	return p
}

func handleValue[T any](p unsafe.Pointer) T { return (*(*cgo.Handle)(p)).Value().(T) }

var handleFree = unsafe.Pointer(C.kalamdb_handle_free)

//export kalamdb_handle_free
func kalamdb_handle_free(p unsafe.Pointer) {
	(*(*cgo.Handle)(p)).Delete()
	C.free(p)
}

func registerScan(in *instance, c *conn) error {
	f := mapping.CreateTableFunction()
	defer mapping.DestroyTableFunction(&f)
	mapping.TableFunctionSetName(f, scanFunction)
	t := mapping.CreateLogicalType(mapping.TypeBigInt)
	mapping.TableFunctionAddParameter(f, t)
	mapping.DestroyLogicalType(&t)
	mapping.TableFunctionSetExtraInfo(f, newHandle(in), handleFree)
	mapping.TableFunctionSupportsProjectionPushdown(f, true)
	mapping.TableFunctionSetBind(f, unsafe.Pointer(C.kalamdb_scan_bind))
	mapping.TableFunctionSetInit(f, unsafe.Pointer(C.kalamdb_scan_init))
	mapping.TableFunctionSetFunction(f, unsafe.Pointer(C.kalamdb_scan_fill))
	if mapping.RegisterTableFunction(c.c, f) == mapping.StateError {
		return errors.New("duckdb: cannot register the table function")
	}
	return nil
}

// A boundScan is what bind leaves for init.
type boundScan struct {
	st  *statement
	src *source
}

//export kalamdb_scan_bind
func kalamdb_scan_bind(p unsafe.Pointer) {
	info := mapping.BindInfo{Ptr: p}
	defer guard(func(msg string) { mapping.BindSetError(info, msg) })
	in := handleValue[*instance](mapping.BindGetExtraInfo(info))
	var cc mapping.ClientContext
	mapping.TableFunctionGetClientContext(info, &cc)
	id := uint64(mapping.ClientContextGetConnectionId(cc))
	mapping.DestroyClientContext(&cc)
	v := mapping.BindGetParameter(info, 0)
	n := mapping.GetInt64(v)
	mapping.DestroyValue(&v)
	running, ok := in.running.Load(id)
	if !ok {
		mapping.BindSetError(info, "no statement is running")
		return
	}
	st := running.(*statement)
	if n < 0 || n >= int64(len(st.sources)) {
		mapping.BindSetError(info, "no such source")
		return
	}
	src := &st.sources[n]
	for _, c := range src.columns {
		t := logicalType(c.typ)
		mapping.BindAddResultColumn(info, c.name, t)
		mapping.DestroyLogicalType(&t)
	}
	mapping.BindSetCardinality(info, mapping.IdxT(src.rows), false)
	mapping.BindSetBindData(info, newHandle(boundScan{st: st, src: src}), handleFree)
}

//export kalamdb_scan_init
func kalamdb_scan_init(p unsafe.Pointer) {
	info := mapping.InitInfo{Ptr: p}
	defer guard(func(msg string) { mapping.InitSetError(info, msg) })
	b := handleValue[boundScan](mapping.InitGetBindData(info))
	s := &scanState{st: b.st, src: b.src, next: b.src.next}
	var values []int
	for i := range mapping.InitGetColumnCount(info) {
		c := mapping.InitGetColumnIndex(info, i)
		if c >= mapping.IdxT(len(b.src.columns)) { // the row id: nobody reads it
			s.projected = append(s.projected, -1)
			continue
		}
		s.projected = append(s.projected, int(c))
		if p := b.src.places[c]; p >= 0 {
			values = append(values, p)
		}
	}
	if b.src.project != nil {
		s.next = b.src.project(values)
	}
	s.writers = make([]vectorWriter, len(s.projected))
	mapping.InitSetMaxThreads(info, 1)
	mapping.InitSetInitData(info, newHandle(s), handleFree)
}

//export kalamdb_scan_fill
func kalamdb_scan_fill(p, out unsafe.Pointer) {
	info := mapping.FunctionInfo{Ptr: p}
	defer guard(func(msg string) { mapping.FunctionSetError(info, msg) })
	s := handleValue[*scanState](mapping.FunctionGetInitData(info))
	chunk := mapping.DataChunk{Ptr: out}
	n, err := s.fill(chunk)
	if err != nil {
		s.st.fail(err)
		mapping.FunctionSetError(info, "reading buffered rows failed")
		return
	}
	mapping.DataChunkSetSize(chunk, mapping.IdxT(n))
}

// guard turns a panic in a callback into an error of the statement: a panic must not
// cross into C.
func guard(set func(string)) {
	if r := recover(); r != nil {
		set(fmt.Sprintf("internal: %v", r))
	}
}

// fill writes the next rows into chunk; 0 rows end the scan.
func (s *scanState) fill(chunk mapping.DataChunk) (int, error) {
	if s.done {
		return 0, nil
	}
	done, err := s.st.use()
	if err != nil {
		return 0, err
	}
	defer done()
	for i, c := range s.projected {
		if c >= 0 {
			s.writers[i].init(mapping.DataChunkGetVector(chunk, mapping.IdxT(i)), s.src.columns[c].typ)
		}
	}
	n := 0
	var last []byte
	// A round may yield nothing (only rows that are hidden), so go on until there is a row.
	for n == 0 && !s.done && err == nil {
		var more bool
		more, err2 := s.next(s.after, int(mapping.VectorSize()), func(key []byte, r *row.Row) {
			if err != nil {
				return
			}
			last = append(last[:0], key...)
			if r == nil { // a hidden row: only its key counts
				return
			}
			err = s.write(n, r)
			n++
		})
		if err == nil {
			err = err2
		}
		s.done = !more
		s.after = append(s.after[:0], last...)
	}
	if err != nil {
		return 0, err
	}
	for i, c := range s.projected {
		if c >= 0 {
			s.writers[i].finish()
		}
	}
	return n, nil
}

func (s *scanState) write(n int, r *row.Row) error {
	for i, c := range s.projected {
		if c < 0 {
			continue
		}
		var v row.Value
		switch p := s.src.places[c]; p {
		case placeSeq:
			if r.Seq != 0 { // 0: not committed yet
				v = row.IntValue(row.BigInt, int64(r.Seq))
			}
		case placeUpdated:
			v = row.IntValue(row.Timestamp, r.Updated)
		case placeDeleted:
			v = row.BoolValue(r.Deleted)
		case placeOrdinal:
			v = row.IntValue(row.BigInt, s.ordinal)
		default:
			if p >= len(r.Values) {
				return fmt.Errorf("column %s: a row of %d values", s.src.columns[c].name, len(r.Values))
			}
			v = r.Values[p]
		}
		if err := s.writers[i].set(n, v); err != nil {
			return fmt.Errorf("column %s: %w", s.src.columns[c].name, err)
		}
	}
	s.ordinal++
	return nil
}
