// SPDX-License-Identifier: Apache-2.0

package mountcopy

import (
	"bytes"
	"fmt"
	"io"
	"strconv"
	"time"
)

// tarBlock is what parts of an archive are padded to, in bytes.
const tarBlock = 512

// addSparse writes a file with holes in the form that GNU tar calls PAX 1.0, which archive/tar reads and doesn't write:
// the data alone, after a list of where it belongs. Who unpacks the layer gets the whole file. write must write
// e.data() bytes.
func (w *layerWriter) addSparse(e *entry, write func(io.Writer) error) error {
	if err := w.tar.Flush(); err != nil {
		return err
	}
	var parts bytes.Buffer
	count := 0
	err := e.extents(func(offset, n int64) error {
		count++
		fmt.Fprintf(&parts, "%d\n%d\n", offset, n)
		return nil
	})
	if err != nil {
		return err
	}
	list := padded(append([]byte(strconv.Itoa(count)+"\n"), parts.Bytes()...))
	records := paxRecords([][2]string{
		{"GNU.sparse.major", "1"},
		{"GNU.sparse.minor", "0"},
		{"GNU.sparse.name", e.Path},
		{"GNU.sparse.realsize", strconv.FormatInt(e.Size, 10)},
		{"size", strconv.FormatInt(int64(len(list))+e.data(), 10)},
		{"uid", strconv.FormatUint(uint64(e.UID), 10)},
		{"gid", strconv.FormatUint(uint64(e.GID), 10)},
		{"mtime", strconv.FormatInt(time.Unix(0, e.Modified).Unix(), 10)},
	})
	head := append(tarHeader("PaxHeaders.0/sparse", 'x', 0o644, len(records)), padded(records)...)
	head = append(head, tarHeader("GNUSparseFile.0/sparse", '0', e.Mode, 0)...)
	if _, err := w.add(append(head, list...)); err != nil {
		return err
	}
	if err := write(writerFunc(w.add)); err != nil {
		return err
	}
	_, err = w.add(make([]byte, (tarBlock-e.data()%tarBlock)%tarBlock))
	return err
}

// padded fills a part of an archive up to a whole number of blocks.
func padded(part []byte) []byte {
	return append(part, make([]byte, (tarBlock-len(part)%tarBlock)%tarBlock)...)
}

// paxRecords are keys and values as an archive holds them: each with its own length in front.
func paxRecords(records [][2]string) []byte {
	var out bytes.Buffer
	for _, r := range records {
		rest := " " + r[0] + "=" + r[1] + "\n"
		n := len(rest)
		for n != len(rest)+len(strconv.Itoa(n)) {
			n = len(rest) + len(strconv.Itoa(n))
		}
		out.WriteString(strconv.Itoa(n) + rest)
	}
	return out.Bytes()
}

// tarHeader is the block in front of an archive's member. Times, owners and large sizes are in records before it.
func tarHeader(name string, flag byte, mode uint32, size int) []byte {
	block := make([]byte, tarBlock)
	copy(block, name)
	copy(block[100:], fmt.Sprintf("%07o\x00%07o\x00%07o\x00%011o\x00%011o\x00", mode, 0, 0, size, 0))
	copy(block[148:], "        ") // counts as spaces in the sum
	block[156] = flag
	copy(block[257:], "ustar\x0000")
	sum := 0
	for _, b := range block {
		sum += int(b)
	}
	copy(block[148:], fmt.Sprintf("%06o\x00 ", sum))
	return block
}
