/*
 * Just enough SVG for a plot: shapes with a class each, text that is escaped, coordinates in
 * tenths. The caller brings the style sheet.
 */
#ifndef TOOLS_SVG_H
#define TOOLS_SVG_H

#include "base/bytes.h"

struct svg_point {
    double x, y;
};

void svg_begin(struct text_buf *out, unsigned width, unsigned height, const char *title,
               const char *style);
void svg_end(struct text_buf *out);
void svg_rect(struct text_buf *out, const char *class_name, double x, double y, double width,
              double height);
void svg_line(struct text_buf *out, const char *class_name, struct svg_point from,
              struct svg_point to);
void svg_polyline(struct text_buf *out, const char *class_name, const struct svg_point points[],
                  size_t count);
void svg_circle(struct text_buf *out, const char *class_name, struct svg_point centre,
                double radius);
void svg_text(struct text_buf *out, const char *class_name, struct svg_point at, const char *text);

#endif
