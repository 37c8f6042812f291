// SPDX-License-Identifier: BSD-2-Clause
/*
 * reader.c - opens a trace file. Everything in it is distrusted: sizes are bounded before
 * anything is allocated, what is kept grows with the file's own size, and payloads are checked when
 * they are read.
 */
#include <errno.h>
#include <fcntl.h>
#include <json-c/json.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "trace/reader.h"

/* All META chunks together, as text: a JSON object takes up to 30 times that in memory. */
#define META_MAX (4u << 20)

int intro__trace_read(const struct intro_trace *trace, void *to, size_t bytes, uint64_t offset)
{
	size_t done = 0;

	while (done < bytes) {
		ssize_t n =
			pread(trace->fd, (char *)to + done, bytes - done, (off_t)(offset + done));

		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0)
			return n < 0 ? -errno : -ENODATA;
		done += (size_t)n;
	}
	return 0;
}

bool intro__chunk_header_valid(const struct itr_chunk_header *header)
{
	return header->magic == ITR_CHUNK_MAGIC && header->crc == intro__crc_of(header) &&
	       header->raw_bytes <= ITR_RAW_MAX && header->stored_bytes <= header->raw_bytes &&
	       header->t_first <= header->t_last;
}

struct chunk intro__chunk_of(const struct itr_chunk_header *header, uint64_t offset)
{
	return (struct chunk){
		.offset = offset,
		.t_first = header->t_first,
		.t_last = header->t_last,
		.stream = header->stream,
		.records = header->records,
		.raw_bytes = header->raw_bytes,
		.stored_bytes = header->stored_bytes,
		.payload_crc = header->payload_crc,
		.type = header->type,
		.codec = header->codec,
		.place = PLACE_CHUNK,
	};
}

/* The index has a copy of the header: damage to it in the file loses nothing, and is told. */
static void check_copy(struct intro_trace *trace, struct chunk *chunk, const uint8_t *in_file)
{
	struct itr_chunk_header header;

	memcpy(&header, in_file, sizeof(header));
	if (chunk->flags & CHUNK_HEADER_BAD || intro__chunk_header_valid(&header))
		return;
	chunk->flags |= CHUNK_HEADER_BAD;
	trace->damage.bad_bytes += sizeof(header);
}

int intro__chunk_read(struct intro_trace *trace, struct chunk *chunk, uint8_t *raw)
{
	const size_t before = sizeof(struct itr_chunk_header);
	uint32_t bytes = chunk->stored_bytes;
	int err = intro__buffer_need(&trace->stored, before + bytes);
	const uint8_t *stored;

	if (err)
		return err;
	err = intro__trace_read(trace, trace->stored.data, before + bytes, chunk->offset);
	if (err)
		return err == -ENODATA ? -EBADMSG : err;
	stored = trace->stored.data + before;
	check_copy(trace, chunk, trace->stored.data);
	if (intro__crc(stored, bytes) != chunk->payload_crc)
		return -EBADMSG;
	return intro__codec_decode(trace->codec, chunk->codec, stored, bytes, raw,
				   chunk->raw_bytes);
}

/* The same to trace->raw. */
static int read_raw(struct intro_trace *trace, struct chunk *chunk)
{
	int err = intro__buffer_need(&trace->raw, chunk->raw_bytes);

	return err ? err : intro__chunk_read(trace, chunk, trace->raw.data);
}

void intro__chunk_bad(struct intro_trace *trace, struct chunk *chunk)
{
	struct intro_trace_damage *damage = &trace->damage;

	if (chunk->flags & CHUNK_COUNTED)
		return;
	chunk->flags |= CHUNK_COUNTED;
	damage->bad_chunks++;
	if (chunk->type != ITR_RECORDS)
		return;
	if (!damage->lost_until_ns || chunk->t_first < damage->lost_from_ns)
		damage->lost_from_ns = chunk->t_first;
	if (chunk->t_last > damage->lost_until_ns)
		damage->lost_until_ns = chunk->t_last;
}

int intro__trace_keep(struct intro_trace *trace, const struct chunk *chunk)
{
	if (trace->chunks_count == trace->chunks_room) {
		size_t room = trace->chunks_room ? trace->chunks_room * 2 : 256;
		void *chunks = realloc(trace->chunks, room * sizeof(*trace->chunks));

		if (!chunks)
			return -ENOMEM;
		trace->chunks = chunks;
		trace->chunks_room = room;
	}
	trace->chunks[trace->chunks_count++] = *chunk;
	return 0;
}

static void merge_object(struct json_object *into, struct json_object *from)
{
	struct json_object_iterator at = json_object_iter_begin(from);
	struct json_object_iterator end = json_object_iter_end(from);

	for (; !json_object_iter_equal(&at, &end); json_object_iter_next(&at))
		json_object_object_add(into, json_object_iter_peek_name(&at),
				       json_object_get(json_object_iter_peek_value(&at)));
}

static bool merge_meta(struct intro_trace *trace, struct chunk *chunk)
{
	struct json_tokener *tokener;
	struct json_object *object;
	bool good;

	if (chunk->raw_bytes > META_MAX - trace->meta_bytes || read_raw(trace, chunk))
		return false;
	tokener = json_tokener_new();
	if (!tokener)
		return false;
	object = json_tokener_parse_ex(tokener, (const char *)trace->raw.data,
				       (int)chunk->raw_bytes);
	json_tokener_free(tokener);
	good = json_object_is_type(object, json_type_object);
	if (good) {
		trace->meta_bytes += chunk->raw_bytes;
		merge_object(trace->meta, object);
	}
	json_object_put(object);
	return good;
}

int intro__trace_add(struct intro_trace *trace, const struct itr_chunk_header *header,
		     uint64_t offset)
{
	struct chunk chunk = intro__chunk_of(header, offset);

	if (chunk.type == ITR_META) {
		if (merge_meta(trace, &chunk))
			trace->any = true;
		else
			intro__chunk_bad(trace, &chunk);
		return 0;
	}
	/* chunks of a type that this reader does not know are stepped over */
	if (chunk.type != ITR_RECORDS)
		return 0;
	if (chunk.raw_bytes % INTRO_ROW_BYTES || !chunk.records ||
	    chunk.records > chunk.raw_bytes / INTRO_ROW_BYTES ||
	    chunk.stream == INTRO_STREAM_META) {
		intro__chunk_bad(trace, &chunk);
		return 0;
	}
	trace->any = true;
	return intro__trace_keep(trace, &chunk);
}

/* --- the index ------------------------------------------------------------------------------- */

struct index {
	struct itr_index_entry *entries;
	size_t count, room;
	uint64_t expected; /* where the next entry's chunk must begin */
};

static int index_append(struct index *index, const struct itr_index_entry *entries, size_t n)
{
	if (index->count + n > index->room) {
		size_t room = (index->count + n) * 2;
		void *more = realloc(index->entries, room * sizeof(*entries));

		if (!more)
			return -ENOMEM;
		index->entries = more;
		index->room = room;
	}
	for (size_t i = 0; i < n; i++) {
		const struct itr_index_entry *entry = &entries[i];

		/* The chunks fill the file up to the index: so their number is bounded by its size
		 */
		if (entry->offset != index->expected || !intro__chunk_header_valid(&entry->header))
			return -EBADMSG;
		index->expected += sizeof(entry->header) + entry->header.stored_bytes;
		index->entries[index->count++] = *entry;
	}
	return 0;
}

/* One index chunk at *offset, which is moved behind it. */
static int read_index_chunk(struct intro_trace *trace, struct index *index, uint64_t *offset)
{
	struct itr_chunk_header header;
	struct chunk chunk;
	int err = intro__trace_read(trace, &header, sizeof(header), *offset);

	if (err)
		return err;
	if (!intro__chunk_header_valid(&header) || header.type != ITR_INDEX ||
	    header.raw_bytes != header.records * (uint64_t)sizeof(struct itr_index_entry))
		return -EBADMSG;
	chunk = intro__chunk_of(&header, *offset);
	err = read_raw(trace, &chunk);
	if (err)
		return err;
	*offset += sizeof(header) + header.stored_bytes;
	return index_append(index, (const struct itr_index_entry *)trace->raw.data, header.records);
}

static bool read_footer(const struct intro_trace *trace, struct itr_footer *footer)
{
	if (trace->size < sizeof(struct itr_file_header) + sizeof(*footer))
		return false;
	return !intro__trace_read(trace, footer, sizeof(*footer), trace->size - sizeof(*footer)) &&
	       !memcmp(footer->magic, ITR_FOOTER_MAGIC, sizeof(footer->magic)) &&
	       footer->crc == intro__crc_of(footer);
}

/* 0; -ENODATA: there is none; -EBADMSG: it is damaged. Adds nothing unless all of it is good. */
static int read_index(struct intro_trace *trace)
{
	struct index index = {.expected = sizeof(struct itr_file_header)};
	struct itr_footer footer;
	uint64_t offset, end = trace->size - sizeof(footer);
	int err = 0;

	if (!read_footer(trace, &footer))
		return -ENODATA;
	offset = trace->index_offset = footer.index_offset;
	if (offset < sizeof(struct itr_file_header) || offset >= end)
		return -EBADMSG;
	while (!err && offset < end)
		err = read_index_chunk(trace, &index, &offset);
	if (!err && (offset != end || index.expected != footer.index_offset ||
		     index.count != footer.chunks))
		err = -EBADMSG;
	for (size_t i = 0; !err && i < index.count; i++)
		err = intro__trace_add(trace, &index.entries[i].header, index.entries[i].offset);
	free(index.entries);
	return err;
}

/* --- open ------------------------------------------------------------------------------------ */

static int fail(int err, const char **why, const char *reason)
{
	*why = reason;
	return err;
}

static int open_file(struct intro_trace *trace, const char *path, const char **why)
{
	struct stat st;

	/* NONBLOCK: do not wait for the other end of a pipe only to say that it is none of ours */
	trace->fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
	if (trace->fd < 0 || fstat(trace->fd, &st))
		return fail(-errno, why, "it cannot be opened");
	if (!S_ISREG(st.st_mode))
		return fail(-EINVAL, why, "not a regular file");
	if (st.st_size == 0)
		return fail(-ENODATA, why, "the file is empty");
	trace->size = (uint64_t)st.st_size;
	return 0;
}

static int check_header(const struct intro_trace *trace, const char **why)
{
	struct itr_file_header header = {0};
	size_t have = trace->size < sizeof(header) ? (size_t)trace->size : sizeof(header);
	size_t magic = have < sizeof(header.magic) ? have : sizeof(header.magic);
	int err = intro__trace_read(trace, &header, have, 0);

	if (err)
		return fail(err, why, "it cannot be read");
	if (memcmp(header.magic, ITR_MAGIC, magic))
		return fail(-EINVAL, why, "not an introspect trace");
	if (have < sizeof(header))
		return fail(-ENODATA, why, "the file ends within its header");
	if (header.crc != intro__crc_of(&header))
		return fail(-EINVAL, why, "the file's header is damaged");
	if (header.byte_order != ITR_BYTE_ORDER)
		return fail(-EINVAL, why, "the trace is of another byte order");
	if (header.version != ITR_VERSION || header.abi_version != INTRO_ABI_VERSION)
		return fail(-EPROTONOSUPPORT, why,
			    "the trace has a version which this program does not know");
	return 0;
}

static int read_chunks(struct intro_trace *trace, const char **why)
{
	const char *text;
	int err = read_index(trace);

	if (err == -ENODATA || err == -EBADMSG) {
		trace->damage.truncated = err == -ENODATA;
		trace->damage.bad_chunks += err == -EBADMSG;
		err = intro__trace_scan(trace);
	}
	if (err)
		return fail(err, why, err == -ENOMEM ? "out of memory" : "it cannot be read");
	if (!trace->any)
		return fail(-ENODATA, why, "the file does not hold one whole chunk");
	text = json_object_to_json_string_ext(trace->meta, JSON_C_TO_STRING_PLAIN);
	trace->meta_text = text ? strdup(text) : NULL;
	json_object_put(trace->meta);
	trace->meta = NULL;
	free(trace->raw.data);
	trace->raw = (struct intro__buffer){0};
	if (!trace->meta_text || intro__trace_arrange(trace))
		return fail(-ENOMEM, why, "out of memory");
	return 0;
}

struct intro_trace *intro_trace_open(const char *path, const char **why)
{
	struct intro_trace *trace = calloc(1, sizeof(*trace));
	const char *ignored;
	int err;

	if (!why)
		why = &ignored;
	*why = "out of memory";
	if (!trace)
		return NULL;
	err = open_file(trace, path, why);
	if (!err)
		err = check_header(trace, why);
	if (!err) {
		trace->codec = intro__codec_new(0);
		trace->meta = json_object_new_object();
		if (!trace->codec || !trace->meta)
			err = fail(-ENOMEM, why, "out of memory");
	}
	if (!err)
		err = read_chunks(trace, why);
	if (err) {
		intro_trace_free(trace);
		errno = -err;
		return NULL;
	}
	*why = NULL;
	return trace;
}

void intro_trace_free(struct intro_trace *trace)
{
	if (!trace)
		return;
	if (trace->fd >= 0)
		close(trace->fd);
	json_object_put(trace->meta);
	intro__codec_free(trace->codec);
	free(trace->stored.data);
	free(trace->raw.data);
	free(trace->chunks);
	free(trace->gaps);
	free(trace->meta_text);
	free(trace);
}

const char *intro_trace_meta(const struct intro_trace *trace)
{
	return trace->meta_text;
}

void intro_trace_damage(const struct intro_trace *trace, struct intro_trace_damage *damage)
{
	*damage = trace->damage;
}

void intro_trace_range(const struct intro_trace *trace, uint64_t *first_ns, uint64_t *last_ns,
		       uint64_t *records)
{
	*first_ns = trace->first_ns;
	*last_ns = trace->last_ns;
	*records = trace->records;
}
