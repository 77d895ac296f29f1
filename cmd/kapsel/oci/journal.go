package oci

import (
	"encoding/json"
	"fmt"
	"os"
	"time"
)

// Formats of the log.
const (
	formatText = "text"
	formatJSON = "json"
)

// Levels of the log, as engines read them.
const (
	levelDebug   = "debug"
	levelWarning = "warning"
	levelError   = "error"
)

// A journal is the log that --log names: lines that engines read the reason of a failure from. Without that flag there is no file, and warnings go to standard error,
// where the command itself says what failed.
type journal struct {
	err   *os.File
	file  *os.File
	json  bool
	debug bool
}

// A record is a line of the log.
type record struct {
	Level string `json:"level"`
	Msg   string `json:"msg"`
	Time  string `json:"time"`
}

// open begins the log, which is appended to. A format that is none is an error that the log has, as text.
func (j *journal) open(path, format string, debug bool) error {
	j.debug, j.json = debug, format == formatJSON
	if path != "" {
		f, err := os.OpenFile(path, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o644)
		if err != nil {
			return fmt.Errorf("--log: %w", err)
		}
		j.file = f
	}
	if format != formatText && format != formatJSON {
		return fmt.Errorf("--log-format %s: want %s or %s", short(format), formatText, formatJSON)
	}
	return nil
}

func (j *journal) close() {
	if j.file != nil {
		j.file.Close()
	}
}

// warn logs what went wrong and does not change what is done.
func (j *journal) warn(format string, args ...any) {
	j.write(levelWarning, fmt.Sprintf(format, args...))
}

// say logs a step, with --debug.
func (j *journal) say(format string, args ...any) {
	if j.debug {
		j.write(levelDebug, fmt.Sprintf(format, args...))
	}
}

// write logs a line.
func (j *journal) write(level, message string) {
	switch {
	case j.file != nil:
		j.file.Write(j.line(record{level, message, time.Now().Format(time.RFC3339)}))
	case level != levelError:
		fmt.Fprintf(j.err, "kapsel: %s: %s\n", level, message)
	}
}

// line is a record in the format of the log.
func (j *journal) line(r record) []byte {
	if !j.json {
		return fmt.Appendf(nil, "time=%q level=%s msg=%q\n", r.Time, r.Level, r.Msg)
	}
	line, err := json.Marshal(r)
	if err != nil {
		panic(err) // strings always can
	}
	return append(line, '\n')
}
