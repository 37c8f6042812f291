// SPDX-License-Identifier: BSD-2-Clause
/*
 * writer.c - gathers the records of each stream until a chunk is full, then writes it with one
 * system call. All buffers together stay under BUFFERED_MAX: when many streams are under way
 * their chunks get smaller. The reader relies on that (see cursor.c).
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/uio.h>
#include <time.h>
#include <unistd.h>

#include <introspect/trace.h>

#include "trace/codec.h"

#define DEFAULT_LEVEL (-1)
#define LEVEL_MIN (-50)
#define LEVEL_MAX 19
#define DEFAULT_CHUNK_BYTES (256u << 10)
#define CHUNK_BYTES_MIN (INTRO_ROW_BYTES * INTRO_ROWS_MAX)
#define BUFFER_FIRST_BYTES (4u << 10)
#define BUFFERED_MAX (64u << 20)

struct stream {
	uint32_t id;
	uint32_t records;
	uint8_t *rows;
	uint32_t bytes, room;
	uint64_t t_first, t_last; /* t_last: of the stream so far, also between chunks */
	uint64_t lost;
	uint64_t begun_ns; /* when the chunk's first record came */
};

struct intro_trace_writer {
	int fd;
	int error; /* the first one; sticks */
	bool compress;
	uint32_t chunk_bytes;
	struct intro__codec *codec;
	struct stream *streams; /* sorted by id */
	size_t streams_count, streams_room;
	size_t buffered; /* sum of the streams' room */
	struct itr_index_entry *index;
	size_t index_count, index_room;
	uint64_t offset;
	uint64_t records, raw_bytes, raised;
};

static uint64_t now_ns(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}

static int write_all(int fd, struct iovec *iov, int count)
{
	while (count > 0) {
		ssize_t n = writev(fd, iov, count);

		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0)
			return n < 0 ? -errno : -EIO;
		while (count > 0 && (size_t)n >= iov->iov_len) {
			n -= (ssize_t)iov->iov_len;
			iov++;
			count--;
		}
		if (count > 0) {
			iov->iov_base = (char *)iov->iov_base + n;
			iov->iov_len -= (size_t)n;
		}
	}
	return 0;
}

static int write_bytes(struct intro_trace_writer *writer, const void *head, size_t head_bytes,
		       const void *body, size_t body_bytes)
{
	struct iovec iov[2] = {{(void *)head, head_bytes}, {(void *)body, body_bytes}};
	int err = write_all(writer->fd, iov, body_bytes ? 2 : 1);

	if (err) {
		/* Leave whole chunks only. It is as well if that fails: a reader finds them. */
		if (ftruncate(writer->fd, (off_t)writer->offset))
			errno = 0;
		writer->error = err;
		return err;
	}
	writer->offset += head_bytes + body_bytes;
	return 0;
}

static int remember_chunk(struct intro_trace_writer *writer, const struct itr_chunk_header *header)
{
	if (writer->index_count == writer->index_room) {
		size_t room = writer->index_room ? writer->index_room * 2 : 256;
		void *index = realloc(writer->index, room * sizeof(*writer->index));

		if (!index)
			return writer->error = -ENOMEM;
		writer->index = index;
		writer->index_room = room;
	}
	writer->index[writer->index_count].offset = writer->offset;
	writer->index[writer->index_count].header = *header;
	writer->index_count++;
	return 0;
}

/* Completes the header, encodes raw, writes both. Index chunks are not in the index. */
static int write_chunk(struct intro_trace_writer *writer, struct itr_chunk_header *header,
		       const void *raw, size_t bytes)
{
	const void *stored;
	int err;

	header->magic = ITR_CHUNK_MAGIC;
	header->codec = !writer->compress	      ? ITR_RAW
			: header->type == ITR_RECORDS ? ITR_ROWS_ZSTD
						      : ITR_ZSTD;
	header->raw_bytes = (uint32_t)bytes;
	header->stored_bytes =
		(uint32_t)intro__codec_encode(writer->codec, &header->codec, raw, bytes, &stored);
	header->payload_crc = intro__crc(stored, header->stored_bytes);
	header->sequence = (uint32_t)writer->index_count;
	header->crc = intro__crc_of(header);
	if (header->type != ITR_INDEX) {
		err = remember_chunk(writer, header);
		if (err)
			return err;
	}
	err = write_bytes(writer, header, sizeof(*header), stored, header->stored_bytes);
	if (!err && header->type == ITR_RECORDS)
		writer->raw_bytes += bytes;
	return err;
}

static int write_stream(struct intro_trace_writer *writer, struct stream *stream)
{
	struct itr_chunk_header header = {
		.type = ITR_RECORDS,
		.stream = stream->id,
		.records = stream->records,
		.t_first = stream->t_first,
		.t_last = stream->t_last,
		.lost = stream->lost,
	};
	int err;

	if (!stream->records)
		return 0;
	err = write_chunk(writer, &header, stream->rows, stream->bytes);
	if (err)
		return err;
	writer->records += stream->records;
	stream->records = 0;
	stream->bytes = 0;
	stream->lost = 0;
	return 0;
}

struct intro_trace_writer *intro_trace_writer_new(int fd, const struct intro_trace_options *options)
{
	struct itr_file_header header = {
		.magic = ITR_MAGIC,
		.byte_order = ITR_BYTE_ORDER,
		.version = ITR_VERSION,
		.abi_version = INTRO_ABI_VERSION,
	};
	struct intro_trace_options o = {0};
	struct intro_trace_writer *writer;
	int err = 0;

	if (options)
		memcpy(&o, options, options->size < sizeof(o) ? options->size : sizeof(o));
	if (!o.level)
		o.level = DEFAULT_LEVEL;
	if (!o.chunk_bytes)
		o.chunk_bytes = DEFAULT_CHUNK_BYTES;
	if (fd < 0 || o.level < LEVEL_MIN || o.level > LEVEL_MAX ||
	    o.chunk_bytes < CHUNK_BYTES_MIN || o.chunk_bytes > ITR_RAW_MAX) {
		errno = EINVAL;
		return NULL;
	}
	writer = calloc(1, sizeof(*writer));
	if (!writer)
		return NULL;
	writer->fd = fd;
	writer->compress = !o.no_compress;
	writer->chunk_bytes = o.chunk_bytes;
	writer->codec = intro__codec_new(o.level);
	header.crc = intro__crc_of(&header);
	if (!writer->codec)
		err = -ENOMEM;
	if (!err)
		err = write_bytes(writer, &header, sizeof(header), NULL, 0);
	if (err) {
		writer->fd = -1; /* stays the caller's */
		intro_trace_writer_free(writer);
		errno = -err;
		return NULL;
	}
	return writer;
}

int intro_trace_writer_meta(struct intro_trace_writer *writer, const char *json)
{
	struct itr_chunk_header header = {.type = ITR_META, .stream = INTRO_STREAM_META};
	size_t bytes = strlen(json);

	if (writer->error)
		return writer->error;
	if (bytes == 0 || bytes > ITR_RAW_MAX)
		return -EINVAL;
	return write_chunk(writer, &header, json, bytes);
}

/* Where `id` is or belongs. */
static size_t stream_position(const struct intro_trace_writer *writer, uint32_t id)
{
	size_t low = 0, high = writer->streams_count;

	while (low < high) {
		size_t middle = low + (high - low) / 2;

		if (writer->streams[middle].id < id)
			low = middle + 1;
		else
			high = middle;
	}
	return low;
}

static struct stream *find_stream(struct intro_trace_writer *writer, uint32_t id)
{
	size_t at = stream_position(writer, id);

	if (at < writer->streams_count && writer->streams[at].id == id)
		return &writer->streams[at];
	if (writer->streams_count == writer->streams_room) {
		size_t room = writer->streams_room ? writer->streams_room * 2 : 16;
		void *streams = realloc(writer->streams, room * sizeof(*writer->streams));

		if (!streams)
			return NULL;
		writer->streams = streams;
		writer->streams_room = room;
	}
	memmove(&writer->streams[at + 1], &writer->streams[at],
		(writer->streams_count - at) * sizeof(*writer->streams));
	writer->streams_count++;
	writer->streams[at] = (struct stream){.id = id};
	return &writer->streams[at];
}

static bool well_formed(const uint8_t *records, size_t bytes)
{
	size_t at = 0;

	if (bytes % INTRO_ROW_BYTES)
		return false;
	while (at < bytes) {
		const struct intro_rec *rec = (const struct intro_rec *)(records + at);

		if (rec->rows < 1 || rec->rows > INTRO_ROWS_MAX)
			return false;
		at += (size_t)rec->rows * INTRO_ROW_BYTES;
	}
	return at == bytes;
}

/* Gives back the memory of the stream which has most, written out. */
static int shed(struct intro_trace_writer *writer, const struct stream *keep)
{
	struct stream *largest = NULL;
	int err;

	for (size_t i = 0; i < writer->streams_count; i++) {
		struct stream *stream = &writer->streams[i];

		if (stream != keep && (!largest || stream->room > largest->room))
			largest = stream;
	}
	if (!largest || !largest->room)
		return 0;
	err = write_stream(writer, largest);
	if (err)
		return err;
	writer->buffered -= largest->room;
	free(largest->rows);
	largest->rows = NULL;
	largest->room = 0;
	return 0;
}

/* Makes room for one more record of `bytes`, by writing the chunk or by growing the buffer. */
static int make_room(struct intro_trace_writer *writer, struct stream *stream, uint32_t bytes)
{
	uint32_t room = stream->room ? stream->room * 2 : BUFFER_FIRST_BYTES;
	void *rows;
	int err;

	if (stream->bytes + bytes > writer->chunk_bytes)
		return write_stream(writer, stream);
	if (room > writer->chunk_bytes)
		room = writer->chunk_bytes;
	while (writer->buffered + room > BUFFERED_MAX) {
		size_t before = writer->buffered;

		err = shed(writer, stream);
		if (err)
			return err;
		if (writer->buffered == before)
			break;
	}
	rows = realloc(stream->rows, room);
	if (!rows)
		return writer->error = -ENOMEM;
	writer->buffered += room - stream->room;
	stream->rows = rows;
	stream->room = room;
	return 0;
}

int intro_trace_writer_append(struct intro_trace_writer *writer, uint32_t id, const void *records,
			      size_t bytes)
{
	const uint8_t *from = records, *end = from + bytes;
	struct stream *stream;

	if (writer->error)
		return writer->error;
	if (id == INTRO_STREAM_META || !well_formed(records, bytes))
		return -EINVAL;
	if (!bytes)
		return 0;
	stream = find_stream(writer, id);
	if (!stream)
		return writer->error = -ENOMEM;
	while (from < end) {
		uint32_t size = ((const struct intro_rec *)from)->rows * (uint32_t)INTRO_ROW_BYTES;
		struct intro_rec *to;

		while (stream->bytes + size > stream->room ||
		       stream->bytes + size > writer->chunk_bytes) {
			int err = make_room(writer, stream, size);

			if (err)
				return err;
		}
		to = (struct intro_rec *)(stream->rows + stream->bytes);
		memcpy(to, from, size);
		if (to->ts < stream->t_last) {
			to->ts = stream->t_last;
			writer->raised++;
		}
		stream->t_last = to->ts;
		if (!stream->records) {
			stream->t_first = to->ts;
			stream->begun_ns = now_ns();
		}
		if (to->kind == INTRO_KIND_LOST)
			stream->lost += ((const struct intro_rec_lost *)to)->count;
		stream->bytes += size;
		stream->records++;
		from += size;
	}
	return 0;
}

int intro_trace_writer_flush(struct intro_trace_writer *writer, uint64_t max_age_ns)
{
	uint64_t now = now_ns();

	for (size_t i = 0; i < writer->streams_count && !writer->error; i++)
		if (now - writer->streams[i].begun_ns >= max_age_ns)
			write_stream(writer, &writer->streams[i]);
	return writer->error;
}

void intro_trace_writer_stats(const struct intro_trace_writer *writer,
			      struct intro_trace_writer_stats *stats)
{
	stats->records = writer->records;
	stats->raw_bytes = writer->raw_bytes;
	stats->file_bytes = writer->offset;
	stats->raised = writer->raised;
}

static int write_index(struct intro_trace_writer *writer)
{
	struct itr_footer footer = {
		.magic = ITR_FOOTER_MAGIC,
		.index_offset = writer->offset,
		.chunks = writer->index_count,
	};
	size_t done = 0;
	int err;

	do {
		struct itr_chunk_header header = {.type = ITR_INDEX, .stream = INTRO_STREAM_META};
		size_t n = writer->index_count - done;

		if (n > ITR_INDEX_ENTRIES_MAX)
			n = ITR_INDEX_ENTRIES_MAX;
		header.records = (uint32_t)n;
		err = write_chunk(writer, &header, writer->index + done,
				  n * sizeof(*writer->index));
		if (err)
			return err;
		done += n;
	} while (done < writer->index_count);
	footer.crc = intro__crc_of(&footer);
	return write_bytes(writer, &footer, sizeof(footer), NULL, 0);
}

int intro_trace_writer_close(struct intro_trace_writer *writer)
{
	int err;

	intro_trace_writer_flush(writer, 0);
	if (!writer->error)
		write_index(writer);
	err = writer->error;
	/* EINTR: Linux has closed it all the same */
	if (close(writer->fd) && !err && errno != EINTR)
		err = -errno;
	writer->fd = -1;
	intro_trace_writer_free(writer);
	return err;
}

void intro_trace_writer_free(struct intro_trace_writer *writer)
{
	if (!writer)
		return;
	if (writer->fd >= 0)
		close(writer->fd);
	for (size_t i = 0; i < writer->streams_count; i++)
		free(writer->streams[i].rows);
	free(writer->streams);
	free(writer->index);
	intro__codec_free(writer->codec);
	free(writer);
}
