/*
 * The daemon's configuration: one table of keys, from which everything else follows: the struct's
 * fields, reading files, environment and flags, limits, the documented file that `sluiced
 * --print-config` prints.
 *
 *     flag  >  environment (SLUICE_SECTION_KEY)  >  file (INI)  >  default
 *
 * A key, section or variable nobody knows is refused with the nearest name and where it stands,
 * because a misspelt setting that is silently ignored is found out on the worst day. Setting a key
 * twice in one file is refused for the same reason.
 */
#ifndef SERVER_CONFIG_H
#define SERVER_CONFIG_H

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>

#include "base/bytes.h"
#include "base/clock.h"
#include "base/limits.h"
#include "server/units.h"

#define CONFIG_TEXT_MAX 512u
#define CONFIG_LINE_MAX 190u /* libinih's own limit is 200 with its ends */

/* The C types of the values. "auto", where a key takes it, is 0. */
typedef struct address config_address;
typedef char config_text[CONFIG_TEXT_MAX]; /* words are separated by blanks or commas */
typedef uint64_t config_number;
typedef uint64_t config_size;     /* bytes */
typedef uint64_t config_duration; /* ns */
typedef uint64_t config_choice;   /* position in the list of choices */
typedef bool config_switch;       /* yes or no */

/*
 * X(section, key, field, type, default, least, most, choices, help)
 *
 * `choices`: words by '|' for a choice, "auto" for a number or size that may be left to us, else
 * "". Lines of help end with \n but the last.
 */
#define CONFIG_KEYS(X)                                                                             \
    X("s3", "listen", s3_listen, address, "127.0.0.1:9000", 0, 0, "",                              \
      "Where S3 clients connect. 0.0.0.0:9000 listens on every interface.\n"                       \
      "With a certificate in [tls] this port speaks TLS, unless [tls] listen names another.")      \
    X("s3", "domains", s3_domains, text, "", 0, 0, "",                                             \
      "Base domains for virtual-host style requests, separated by blanks or commas:\n"             \
      "with s3.example.com, http://photos.s3.example.com/cat.jpg is cat.jpg in photos.")           \
    X("s3", "region", s3_region, text, "us-east-1", 0, 31, "",                                     \
      "The region told to clients. Requests signed for any region are accepted.")                  \
    X("s3", "workers", s3_workers, number, "auto", 1, 256, "auto",                                 \
      "Worker threads, each with its own ring, connections and share of the arena.\n"              \
      "auto: one a core, at least 2.")                                                             \
    X("s3", "connections-max", s3_connections_max, number, "16384", 1, 1000000, "",                \
      "Connections at once, of all workers. More are answered 503 and closed.")                    \
    X("s3", "head-timeout", s3_head_timeout, duration, "20s", NS_PER_SECOND / 10,                  \
      3600 * NS_PER_SECOND, "", "From the first byte of a request's head to its end.")             \
    X("s3", "idle-timeout", s3_idle_timeout, duration, "75s", NS_PER_SECOND / 10,                  \
      86400 * NS_PER_SECOND, "", "Between two requests of one connection.")                        \
    X("s3", "body-timeout", s3_body_timeout, duration, "30s", NS_PER_SECOND / 10,                  \
      86400 * NS_PER_SECOND, "", "Without any progress of a body, in either direction.")           \
    X("s3", "body-rate-min", s3_body_rate_min, size, "1KiB", 0, GIB(1), "",                        \
      "Bytes a second, over 30 s: slower clients are cut off. 0: never.")                          \
    X("s3", "admission-timeout", s3_admission_timeout, duration, "5s", NS_PER_MS,                  \
      3600 * NS_PER_SECOND, "",                                                                    \
      "How long an upload waits for memory before it is answered 503 SlowDown.")                   \
    X("s3", "upload-slots", s3_upload_slots, number, "4", 1, 8, "",                                \
      "Arena slots one upload may hold: more is faster alone, fewer lets more run at once.")       \
    X("s3", "receipts", s3_receipts, choice, "signed", 0, 0, "signed|all|off",                     \
      "Who is told durability and data path in x-sluice-* response headers:\n"                     \
      "those who signed their request, everybody, or nobody.")                                     \
    X("s3", "gzip-variants", s3_gzip_variants, text, "", 0, 0, "",                                 \
      "Buckets, or *, in which a client that accepts gzip is sent key.gz for key when both\n"      \
      "are stored and key.gz is not the older: text compressed once, by who publishes it.")        \
    X("get", "path", get_path, choice, "auto", 0, 0,                                               \
      "auto|sendfile|splice|ring-splice|direct|mmap|copy",                                         \
      "How object bytes get to the socket. auto chooses each time by size, residency and\n"        \
      "connection; another one is taken where it is possible, for comparison. A bucket's\n"        \
      "get-path (sluice bucket set) and a request's x-sluice-path header come first.")             \
    X("get", "verify", get_verify, text, "cold", 0, 0, "",                                         \
      "When bytes are held against their checksums before they are sent: off (never),\n"           \
      "cold (before they are first sent since they came from the disk), sample:N (so, and\n"       \
      "each Nth MiB again that is sent out of the page cache), always.")                           \
    X("get", "zero-copy", get_zero_copy, choice, "auto", 0, 0, "auto|on|off",                      \
      "Whether the direct path sends without a copy (SEND_ZC): auto, from 256 KiB on to peers\n"   \
      "whose network card then really fetches the bytes from memory, which is learned of each\n"   \
      "and needs Linux 6.3; on, always, to compare with; off, never.")                             \
    X("tls", "certificate", tls_certificate, text, "", 0, 0, "",                                   \
      "PEM file: the certificate, then those that lead to its root (certbot's fullchain.pem).\n"   \
      "SIGHUP reads it again for new connections; "                                                \
      "what is wrong with it leaves the old one in use.")                                          \
    X("tls", "key", tls_key, text, "", 0, 0, "",                                                   \
      "PEM file: its private key. Empty: in the certificate's file.")                              \
    X("tls", "directory", tls_directory, text, "", 0, 0, "",                                       \
      "More certificates, chosen by the name a client asks for (SNI), wildcards included:\n"       \
      "NAME.crt with NAME.key or, there and in folders one below, fullchain.pem with\n"            \
      "privkey.pem (certbot), public.crt with private.key (MinIO), tls.crt with tls.key.")         \
    X("tls", "listen", tls_listen, text, "", 0, 0, "",                                             \
      "A port of its own for TLS, such as 0.0.0.0:9443; [s3] listen then stays plain:\n"           \
      "TLS on the network and plain HTTP on loopback, say. Empty: [s3] listen speaks TLS.")        \
    X("tls", "min-version", tls_min_version, choice, "1.2", 0, 0, "1.2|1.3",                       \
      "The oldest version that is spoken.")                                                        \
    X("tls", "kernel", tls_kernel, choice, "auto", 0, 0, "auto|off",                               \
      "auto: the kernel encrypts where it can (kTLS: modprobe tls), "                              \
      "so that objects still go out\n"                                                             \
      "without being copied. off: OpenSSL always does.")                                           \
    X("tls", "handshake-timeout", tls_handshake_timeout, duration, "10s", NS_PER_SECOND / 10,      \
      3600 * NS_PER_SECOND, "", "From the connection's beginning to the end of the handshake.")    \
    X("admin", "listen", admin_listen, address, "127.0.0.1:9001", 0, 0, "",                        \
      "Where health, metrics and the `sluice` tool's requests are served. Keep it private.")       \
    X("admin", "metrics", admin_metrics, choice, "auto", 0, 0, "auto|open|token",                  \
      "Who may read /metrics. open: anybody; token: who has the admin token;\n"                    \
      "auto: open while the port is on loopback, else token.")                                     \
    X("cluster", "name", cluster_name, text, "", 0, 63, "",                                        \
      "The cluster's name, the same on every node: who has another one is turned away.")           \
    X("cluster", "key-file", cluster_key_file, text, "", 0, 0, "",                                 \
      "File of the cluster's secret, the same on every node, at least 32 bytes, mode 600:\n"       \
      "nodes prove themselves by it, and it seals the access keys. "                               \
      "sluice cluster key FILE makes one.")                                                        \
    X("cluster", "node", cluster_node, number, "0", 0, 65535, "",                                  \
      "Which of the peers this node is. A number belongs to a directory for good.")                \
    X("cluster", "peers", cluster_peers, text, "", 0, 0, "",                                       \
      "Every node of the cluster, this one too, at most 7: "                                       \
      "1=10.0.0.1:9100, 2=10.0.0.2:9100, ...\n"                                                    \
      "The numbers are the same on every node and for good; an address may change.\n"              \
      "The cluster goes on as long as more than half of them are there: of two, both.\n"           \
      "Use a private network: nothing between the nodes is encrypted. Empty: this node is alone.") \
    X("cluster", "listen", cluster_listen, text, "", 0, 0, "",                                     \
      "Where the other nodes' connections are taken. Empty: this node's address among the peers.") \
    X("cluster", "backend", cluster_backend, choice, "auto", 0, 0, "auto|tcp|verbs",               \
      "What carries bytes to the peers: RDMA verbs or TCP. auto: verbs when the address belongs\n" \
      "to an RDMA device, else TCP. The banner and sluice peers say which it is, and why.")        \
    X("cluster", "in-sync-min", cluster_in_sync_min, number, "auto", 1, 7, "auto",                 \
      "Copies on disks without which no change is acknowledged.\n"                                 \
      "auto: 2 of 3 and more nodes, 1 of 2.")                                                      \
    X("cluster", "landing", cluster_landing, size, "auto", MIB(4), GIB(1), "auto",                 \
      "Memory of the arena that one peer may write into, for each peer: what can be on its way.\n" \
      "auto: 16MiB.")                                                                              \
    X("cluster", "busy-poll", cluster_busy_poll, duration, "50us", 0, NS_PER_SECOND, "",           \
      "How long the replication thread stays awake for the next event while they come so close\n"  \
      "together: a peer's answer is there sooner than a sleeping processor. Without traffic it\n"  \
      "sleeps at once. 0: always.")                                                                \
    X("cluster", "log-records", cluster_log_records, number, "4194304", 1024, 1000000000, "",      \
      "Changes kept in the log behind those applied, about 300 bytes each: "                       \
      "a node that was away for\n"                                                                 \
      "less catches up from them; one that was away for longer is filled by a copy of the index.") \
    X("cluster", "disk-timeout", cluster_disk_timeout, duration, "10s", NS_PER_SECOND,             \
      3600 * NS_PER_SECOND, "",                                                                    \
      "A disk that answers nothing for so long hangs: this node leaves the lead to another one\n"  \
      "and is not ready until it does. Longer than healthy disks pause, as SSDs do to tidy up.")   \
    X("memory", "arena", memory_arena, size, "auto", MIB(8), TIB(1), "auto",                       \
      "Memory that object bytes pass through, registered with the kernel once.\n"                  \
      "auto: a sixteenth of the RAM, from 64MiB to 1GiB.")                                         \
    X("memory", "index-cache", memory_index_cache, size, "64MiB", MIB(1), TIB(1), "",              \
      "Block cache of the index.")                                                                 \
    X("memory", "object-cache", memory_object_cache, size, "32MiB", MIB(1), TIB(1), "",            \
      "Looked-up objects kept ready (their records, not their bytes).")                            \
    X("storage", "allow-buffered", storage_allow_buffered, switch, "no", 0, 0, "",                 \
      "Accept a file system that refuses Direct I/O or only pretends it (tmpfs).\n"                \
      "What is acknowledged is then as durable as that file system's fdatasync makes it.")         \
    X("storage", "segment-size", storage_segment_size, size, "auto", MIB(16), GIB(16), "auto",     \
      "Size of segment files of a volume made at this start: a power of two.\n"                    \
      "auto: from the disk's size. A volume that is there keeps its own.")                         \
    X("storage", "threads", storage_threads, number, "4", 1, 256, "",                              \
      "Threads for what waits for the disk: index reads that miss the caches, listings.")          \
    X("storage", "scrub-every", storage_scrub_every, duration, "28d", 0,                           \
      3650 * 86400 * NS_PER_SECOND, "",                                                            \
      "So often everything stored is read and held against its checksums by itself, 32MiB a\n"     \
      "second, or as `sluice scrub start --rate` said last. 0s: only when told to.")               \
    X("server", "drain-timeout", server_drain_timeout, duration, "30s", 0, 3600 * NS_PER_SECOND,   \
      "", "How long running requests may take after SIGTERM before they are cut off.")             \
    X("log", "level", log_level, choice, "info", 0, 0, "error|warn|info|debug",                    \
      "Read again on SIGHUP.")                                                                     \
    X("log", "format", log_format, choice, "text", 0, 0, "text|json",                              \
      "Lines for people or for machines, on standard error. Read again on SIGHUP.")                \
    X("log", "access", log_access, switch, "no", 0, 0, "", "A line for each request.")

enum cluster_backend { CLUSTER_AUTO, CLUSTER_TCP, CLUSTER_VERBS };
enum admin_metrics_policy { METRICS_AUTO, METRICS_OPEN, METRICS_TOKEN };

enum config_source { CONFIG_DEFAULT, CONFIG_FILE, CONFIG_ENVIRONMENT, CONFIG_FLAG };

enum config_key_id {
#define X(section, key, field, type, initial, least, most, choices, help) CONFIG_KEY_##field,
    CONFIG_KEYS(X) CONFIG_KEY_COUNT
#undef X
};

struct config {
#define X(section, key, field, type, initial, least, most, choices, help) config_##type field;
    CONFIG_KEYS(X)
#undef X
    uint8_t source[CONFIG_KEY_COUNT]; /* enum config_source */
};

enum tls_min_version { TLS_MIN_12, TLS_MIN_13 };
enum tls_kernel_use { TLS_KERNEL_AUTO, TLS_KERNEL_OFF };

void config_init(struct config *config); /* defaults */
/* "s3", "listen", "0.0.0.0:9000". ERR_INVALID with a sentence; the configuration is then
 * unchanged. */
enum err config_set(struct config *config, const char *section, const char *key, struct bytes value,
                    enum config_source source, struct err_trail *trail) MUST_USE;
/* Which key that is, as an enum config_key_id, or -1. */
int config_find(const char *section, const char *key);
enum err config_judge_section(const char *section, struct err_trail *trail) MUST_USE;
/* The first fault ends the reading and leaves the configuration as it was; it is told with its
 * line: "sluice.ini:12: ...". */
enum err config_read_file(struct config *config, const char *path,
                          struct err_trail *trail) MUST_USE;
/* Variables as in environ(7). One that begins with SLUICE_ and a section's name and is no key's is
 * refused. */
enum err config_read_environment(struct config *config, char *const *variables,
                                 struct err_trail *trail) MUST_USE;
/* What no single key can tell: port 0 twice is fine, the same port twice is not; sizes that are
 * powers of two. */
enum err config_judge(const struct config *config, struct err_trail *trail) MUST_USE;

/* Whether there is a certificate, so that S3 is served by TLS. */
bool config_has_tls(const struct config *config);
/* [tls] listen. False: it is empty, and [s3] listen speaks TLS. config_judge() was passed. */
bool config_tls_listen(const struct config *config, struct address *ret_address);

/* The whole configuration as a documented file: keys at their default are commented out. */
void config_print(const struct config *config, struct text_buf *out);

/* Calls each() for every word of a text value, at most `max` times; returns how many words there
 * are. Words are cut out of `scratch`. */
unsigned config_words(const char *text, char scratch[CONFIG_TEXT_MAX], const char *words[],
                      unsigned max);

#endif
