/*
 * The plot: CPU seconds per GiB and throughput over the object's size, logarithmic both, warm and
 * cold beside each other when both were measured. Lines bear their names at the right end, pushed
 * apart where they would lie on each other.
 */
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "base/check.h"
#include "tools/bench_paths.h"
#include "tools/svg.h"

#define PANEL_WIDTH  400.0 /* of the axes; names stand right of it */
#define PANEL_HEIGHT 300.0
#define NAMES_WIDTH  128.0
#define MARGIN_LEFT  66.0
#define PANEL_STEP_X (PANEL_WIDTH + NAMES_WIDTH + 74.0)
#define PANEL_STEP_Y (PANEL_HEIGHT + 92.0)
#define TOP          128.0
#define BOTTOM       86.0
#define NAME_HEIGHT  14.5
#define NAME_PASSES  60u

/* Copying ones in warm colours, page-passing ones in blues, zero-copy sends in violet and green. */
static const char style[] =
    "svg { font-family: 'Helvetica Neue', Helvetica, Arial, 'Liberation Sans', sans-serif; }\n"
    "text { font-size: 12px; fill: #5b6470; }\n"
    ".page { fill: #ffffff; }\n"
    ".title { font-size: 23px; font-weight: bold; fill: #17202a; }\n"
    ".lead { font-size: 14px; fill: #3c4650; }\n"
    ".panel { font-size: 14px; font-weight: bold; fill: #17202a; }\n"
    ".unit { font-size: 12px; fill: #5b6470; }\n"
    ".x { text-anchor: middle; }\n"
    ".y { text-anchor: end; }\n"
    ".foot { font-size: 11px; fill: #7a838d; }\n"
    ".grid { stroke: #e7eaee; stroke-width: 1; }\n"
    ".axis { stroke: #aab2bb; stroke-width: 1; }\n"
    ".leader { stroke: #c9ced4; stroke-width: 1; fill: none; }\n"
    "polyline { fill: none; stroke-width: 2.2; stroke-linejoin: round; stroke-linecap: round; }\n"
    ".dash { stroke-dasharray: 5 4; }\n"
    "circle { stroke: #ffffff; stroke-width: 1; }\n";

static const struct {
    const struct bench_technique *technique;
    const char *colour;
} colours[] = {
    {&bench_read_write, "#a6261d"},    {&bench_mmap_write, "#e0731d"},
    {&bench_direct_send, "#b8930b"},   {&bench_sendfile, "#1769aa"},
    {&bench_splice, "#4fa8e0"},        {&bench_uring_splice, "#0b2f66"},
    {&bench_mmap_zerocopy, "#8e4fb0"}, {&bench_direct_send_zc, "#1f8f5f"},
};

enum metric { CPU, SPEED };

struct panel {
    const struct bench_run *run;
    enum metric metric;
    bool is_cold;
    double left, top;
    double low, high; /* of the values, in decades' steps */
};

static double value_of(const struct bench_point *point, enum metric metric)
{
    return metric == CPU ? point->median.cpu_s_per_gib : point->median.mib_per_s;
}

static const struct bench_point *point_at(const struct panel *panel, unsigned size,
                                          unsigned technique)
{
    const struct bench_run *run = panel->run;
    size_t group = (panel->is_cold ? run->options.size_count : 0) + size;
    return &run->points[group * BENCH_TECHNIQUES + technique];
}

static bool is_drawn(const struct bench_point *point, enum metric metric)
{
    return point->rounds > 0 && value_of(point, metric) > 0;
}

/* ---- scales ---- */

/* 1, 2, 5, 10, 20 ...: the step at or below, or at or above. */
static double step_below(double value)
{
    double decade = pow(10, floor(log10(value)));
    return value / decade >= 5 ? 5 * decade : value / decade >= 2 ? 2 * decade : decade;
}

static double step_above(double step)
{
    double decade = pow(10, floor(log10(step) + 1e-9));
    double first = step / decade;
    return first < 1.5 ? 2 * decade : first < 4 ? 5 * decade : 10 * decade;
}

/* One scale for a metric, whatever the temperature: panels side by side are to be compared. */
static bool scale_find(struct panel *panel)
{
    double low = HUGE_VAL, high = 0;
    for (size_t i = 0; i < panel->run->point_count; i++) {
        const struct bench_point *point = &panel->run->points[i];
        if (!is_drawn(point, panel->metric))
            continue;
        low = fmin(low, value_of(point, panel->metric));
        high = fmax(high, value_of(point, panel->metric));
    }
    if (high <= 0)
        return false;
    panel->low = step_below(low);
    panel->high = panel->low;
    while (panel->high < high)
        panel->high = step_above(panel->high);
    if (panel->high <= panel->low)
        panel->high = step_above(panel->low);
    return true;
}

static double x_of(const struct panel *panel, unsigned size)
{
    const struct bench_options *options = &panel->run->options;
    double first = log2(options->sizes[0]), last = log2(options->sizes[options->size_count - 1]);
    double share = last > first ? (log2(options->sizes[size]) - first) / (last - first) : 0.5;
    return panel->left + 14 + share * (PANEL_WIDTH - 28);
}

static double y_of(const struct panel *panel, double value)
{
    double share = log(value / panel->low) / log(panel->high / panel->low);
    return panel->top + PANEL_HEIGHT - share * PANEL_HEIGHT;
}

/* ---- a panel ---- */

static void draw_axes(const struct panel *panel, struct text_buf *out)
{
    double right = panel->left + PANEL_WIDTH, bottom = panel->top + PANEL_HEIGHT;
    for (double step = panel->low; step <= panel->high * 1.001; step = step_above(step)) {
        char label[32];
        double y = y_of(panel, step);
        svg_line(out, "grid", (struct svg_point){panel->left, y}, (struct svg_point){right, y});
        if (step >= 1000)
            print_count((uint64_t)(step + 0.5), label);
        else
            snprintf(label, sizeof label, "%g", step);
        svg_text(out, "y", (struct svg_point){panel->left - 9, y + 4}, label);
    }
    for (unsigned i = 0; i < panel->run->options.size_count; i++) {
        char label[24];
        bench_size_text(panel->run->options.sizes[i], label);
        svg_line(out, "grid", (struct svg_point){x_of(panel, i), panel->top},
                 (struct svg_point){x_of(panel, i), bottom});
        svg_text(out, "x", (struct svg_point){x_of(panel, i), bottom + 18}, label);
    }
    svg_line(out, "axis", (struct svg_point){panel->left, bottom},
             (struct svg_point){right, bottom});
}

static void draw_heading(const struct panel *panel, struct text_buf *out)
{
    char heading[96];
    snprintf(heading, sizeof heading, "%s, %s",
             panel->metric == CPU ? "CPU seconds per GiB" : "MiB per second",
             panel->is_cold ? "cold: from the disk" : "warm: from the page cache");
    svg_text(out, "panel", (struct svg_point){panel->left, panel->top - 28}, heading);
    svg_text(out, "unit", (struct svg_point){panel->left, panel->top - 11},
             panel->metric == CPU ? "of the server, lower is better"
                                  : "over one connection, higher is better");
}

/* Returns where the line ends; false when there is none. */
static bool draw_technique(const struct panel *panel, unsigned technique, struct text_buf *out,
                           struct svg_point *ret_end)
{
    struct svg_point points[BENCH_SIZES_MAX];
    size_t count = 0;
    char class_name[32];
    for (unsigned i = 0; i < panel->run->options.size_count; i++) {
        const struct bench_point *point = point_at(panel, i, technique);
        if (is_drawn(point, panel->metric))
            points[count++] =
                (struct svg_point){x_of(panel, i), y_of(panel, value_of(point, panel->metric))};
    }
    if (count == 0)
        return false;
    bool is_dashed = bench_techniques[technique]->is_direct && !panel->is_cold;
    snprintf(class_name, sizeof class_name, "s%u%s", technique, is_dashed ? " dash" : "");
    svg_polyline(out, class_name, points, count);
    snprintf(class_name, sizeof class_name, "f%u", technique);
    for (size_t i = 0; i < count; i++)
        svg_circle(out, class_name, points[i], 3.6);
    *ret_end = points[count - 1];
    return true;
}

struct name {
    unsigned technique;
    struct svg_point end;
    double y;
};

/* Two that would touch give way by half each, until none do; few passes are enough for eight names.
 */
static void names_part(struct name names[], size_t count)
{
    for (unsigned pass = 0; pass < NAME_PASSES; pass++)
        for (size_t i = 1; i < count; i++) {
            double lacks = names[i - 1].y + NAME_HEIGHT - names[i].y;
            if (lacks > 0) {
                names[i - 1].y -= lacks / 2;
                names[i].y += lacks / 2;
            }
        }
}

static void names_spread(const struct panel *panel, struct name names[], size_t count)
{
    for (size_t i = 1; i < count; i++)
        for (size_t k = i; k > 0 && names[k].end.y < names[k - 1].end.y; k--) {
            struct name held = names[k];
            names[k] = names[k - 1];
            names[k - 1] = held;
        }
    for (size_t i = 0; i < count; i++)
        names[i].y = names[i].end.y;
    names_part(names, count);
    double lowest = panel->top + PANEL_HEIGHT; /* below stand the sizes */
    for (size_t i = count; i-- > 0; lowest = names[i].y - NAME_HEIGHT)
        names[i].y = fmin(names[i].y, lowest);
}

static void draw_names(const struct panel *panel, struct name names[], size_t count,
                       struct text_buf *out)
{
    double x = panel->left + PANEL_WIDTH + 8;
    names_spread(panel, names, count);
    for (size_t i = 0; i < count; i++) {
        char class_name[16];
        const struct svg_point leader[] = {{names[i].end.x + 5, names[i].end.y},
                                           {x - 2, names[i].y}};
        svg_polyline(out, "leader", leader, COUNT_OF(leader));
        snprintf(class_name, sizeof class_name, "t%u", names[i].technique);
        svg_text(out, class_name, (struct svg_point){x + 1, names[i].y + 4},
                 bench_techniques[names[i].technique]->short_name);
    }
}

static void draw_panel(const struct panel *panel, struct text_buf *out)
{
    struct name names[BENCH_TECHNIQUES];
    size_t count = 0;
    draw_heading(panel, out);
    draw_axes(panel, out);
    for (unsigned i = 0; i < BENCH_TECHNIQUES; i++)
        if (draw_technique(panel, i, out, &names[count].end))
            names[count++].technique = i;
    draw_names(panel, names, count, out);
}

/* ---- the page ---- */

static void put_style(struct text_buf *out)
{
    text_put_string(out, style);
    for (unsigned i = 0; i < BENCH_TECHNIQUES; i++)
        for (size_t k = 0; k < COUNT_OF(colours); k++)
            if (colours[k].technique == bench_techniques[i])
                text_printf(out,
                            ".s%u { stroke: %s; } .f%u { fill: %s; } .t%u { fill: %s; font-weight: "
                            "bold; }\n",
                            i, colours[k].colour, i, colours[k].colour, i, colours[k].colour);
}

static void draw_words(const struct bench_run *run, unsigned height, struct text_buf *out)
{
    char line[400];
    svg_text(out, "title", (struct svg_point){MARGIN_LEFT - 40, 40},
             "What it costs to send a file");
    svg_text(out, "lead", (struct svg_point){MARGIN_LEFT - 40, 64},
             "The same bytes from one file to one socket, by every way Linux has. Red and yellow "
             "ways copy the "
             "body; blue, violet and green ones pass its pages on.");
    snprintf(line, sizeof line,
             "sluice bench paths, %s: %s, %u cores, %s, %s. Loopback, the server's CPU alone, "
             "medians of %u "
             "alternating rounds of %.2g s.",
             run->date, run->cpu, run->cores, run->kernel, run->file_system, BENCH_ROUNDS,
             run->options.seconds / BENCH_ROUNDS);
    svg_text(out, "foot", (struct svg_point){MARGIN_LEFT - 40, height - 36}, line);
    svg_text(out, "foot", (struct svg_point){MARGIN_LEFT - 40, height - 19},
             "Direct I/O always reads the disk (dashed beside warm ones). Over loopback the kernel "
             "copies what "
             "MSG_ZEROCOPY and SEND_ZC are given; a network card would not.");
}

bool bench_paths_svg(const struct bench_run *run, struct text_buf *out)
{
    bool with_cold = run->options.with_cold;
    unsigned width = (unsigned)(MARGIN_LEFT + 2 * PANEL_STEP_X - 30);
    unsigned height = (unsigned)(TOP + (with_cold ? 2 : 1) * PANEL_STEP_Y - 92 + BOTTOM);
    CLEANUP(text_free) struct text_buf sheet = {0};
    put_style(&sheet);
    if (sheet.failed)
        return false;
    svg_begin(out, width, height, "What it costs to send a file: sluice bench paths", sheet.data);
    svg_rect(out, "page", 0, 0, width, height);
    draw_words(run, height, out);
    bool is_drawn_any = false;
    for (unsigned i = 0; i < (with_cold ? 4u : 2u); i++) {
        /* Rows are metrics and columns temperatures; without cold ones, the metrics stand side by
         * side. */
        struct panel panel = {.run = run,
                              .metric = (with_cold ? i / 2 : i) == 0 ? CPU : SPEED,
                              .is_cold = with_cold && i % 2 == 1,
                              .left = MARGIN_LEFT + (i % 2) * PANEL_STEP_X,
                              .top = TOP + (with_cold ? i / 2 : 0) * PANEL_STEP_Y};
        if (!scale_find(&panel))
            continue;
        draw_panel(&panel, out);
        is_drawn_any = true;
    }
    svg_end(out);
    return is_drawn_any && !out->failed;
}
