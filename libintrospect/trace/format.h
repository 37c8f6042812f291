/* SPDX-License-Identifier: BSD-2-Clause */
#ifndef INTROSPECT_TRACE_FORMAT_H
#define INTROSPECT_TRACE_FORMAT_H
/*
 * format.h - the bytes of a trace file. introspect-trace(5) says the same in prose.
 *
 *	file header | chunk | chunk | ... | index chunk | ... | footer
 *
 * All integers are little-endian. All checksums are zlib's crc32; that of a structure covers the
 * bytes before its own `crc`, which is its last member.
 */
#include <stdint.h>

_Static_assert(__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__, "records are stored as they are");

#define ITR_MAGIC "\x89ITR\r\n\x1a\n"
#define ITR_VERSION 1
#define ITR_BYTE_ORDER 0x0a0b0c0du

/* Keeps its layout in all versions, so that any reader can tell which one it has. */
struct itr_file_header {
	char magic[8];
	uint32_t byte_order;
	uint32_t version;
	uint32_t abi_version; /* of the records: INTRO_ABI_VERSION */
	uint32_t reserved0;
	uint32_t reserved1;
	uint32_t crc;
};

#define ITR_CHUNK_MAGIC 0x4b525449u /* "ITRK" */

enum itr_chunk_type { ITR_RECORDS = 1, ITR_META = 2, ITR_INDEX = 3 };
enum itr_codec {
	ITR_RAW = 0,
	ITR_ZSTD = 1,	   /* one zstd frame */
	ITR_ROWS_ZSTD = 2, /* rows filtered, then one zstd frame */
};

/* No chunk is larger when decoded: what a reader must be ready to allocate. */
#define ITR_RAW_MAX (1u << 20)

struct itr_chunk_header {
	uint32_t magic;
	uint8_t type;  /* enum itr_chunk_type */
	uint8_t codec; /* enum itr_codec */
	uint16_t reserved0;
	uint32_t stream;
	uint32_t records; /* how many records; in an index: entries */
	uint64_t t_first; /* ns, of the first record */
	uint64_t t_last;
	uint64_t lost; /* sum of the counts of the LOST records inside */
	uint32_t raw_bytes;
	uint32_t stored_bytes; /* follow this header */
	uint32_t payload_crc;  /* of the stored bytes */
	uint32_t sequence;     /* 0, 1, 2 … in file order */
	uint32_t reserved1;
	uint32_t crc;
};

struct itr_index_entry {
	uint64_t offset;		/* of the header in the file */
	struct itr_chunk_header header; /* a copy of it */
};
#define ITR_INDEX_ENTRIES_MAX (ITR_RAW_MAX / sizeof(struct itr_index_entry))

#define ITR_FOOTER_MAGIC "ITRINDEX"
/* The last 32 bytes of a file that was closed. */
struct itr_footer {
	char magic[8];
	uint64_t index_offset; /* of the first index chunk; the others follow it */
	uint64_t chunks;       /* entries in all of them */
	uint32_t reserved0;
	uint32_t crc;
};

_Static_assert(sizeof(struct itr_file_header) == 32, "file header");
_Static_assert(sizeof(struct itr_chunk_header) == 64, "chunk header");
_Static_assert(sizeof(struct itr_index_entry) == 72, "index entry");
_Static_assert(sizeof(struct itr_footer) == 32, "footer");
_Static_assert(__builtin_offsetof(struct itr_chunk_header, stream) == 8, "stream");
_Static_assert(__builtin_offsetof(struct itr_chunk_header, t_first) == 16, "t_first");
_Static_assert(__builtin_offsetof(struct itr_chunk_header, raw_bytes) == 40, "raw_bytes");
_Static_assert(__builtin_offsetof(struct itr_chunk_header, crc) == 60, "crc");
_Static_assert(__builtin_offsetof(struct itr_footer, crc) == 28, "crc");

#endif
