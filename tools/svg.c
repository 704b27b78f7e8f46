#include "tools/svg.h"

/* Between tags and in attributes; control characters, which XML has no way to say, become blanks.
 */
static void put_escaped(struct text_buf *out, const char *text)
{
    for (; *text != '\0'; text++) {
        switch (*text) {
        case '&':
            text_put_string(out, "&amp;");
            break;
        case '<':
            text_put_string(out, "&lt;");
            break;
        case '>':
            text_put_string(out, "&gt;");
            break;
        case '"':
            text_put_string(out, "&quot;");
            break;
        default:
            text_put(out, (unsigned char)*text < ' ' ? BYTES(" ") : bytes_of(text, 1));
        }
    }
}

void svg_begin(struct text_buf *out, unsigned width, unsigned height, const char *title,
               const char *style)
{
    text_printf(
        out,
        "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"%u\" height=\"%u\" viewBox=\"0 0 %u "
        "%u\" role=\"img\">\n<title>",
        width, height, width, height);
    put_escaped(out, title);
    text_printf(out, "</title>\n<style>\n%s</style>\n", style);
}

void svg_end(struct text_buf *out)
{
    text_put_string(out, "</svg>\n");
}

void svg_rect(struct text_buf *out, const char *class_name, double x, double y, double width,
              double height)
{
    text_printf(out, "<rect class=\"%s\" x=\"%.1f\" y=\"%.1f\" width=\"%.1f\" height=\"%.1f\"/>\n",
                class_name, x, y, width, height);
}

void svg_line(struct text_buf *out, const char *class_name, struct svg_point from,
              struct svg_point to)
{
    text_printf(out, "<line class=\"%s\" x1=\"%.1f\" y1=\"%.1f\" x2=\"%.1f\" y2=\"%.1f\"/>\n",
                class_name, from.x, from.y, to.x, to.y);
}

void svg_polyline(struct text_buf *out, const char *class_name, const struct svg_point points[],
                  size_t count)
{
    text_printf(out, "<polyline class=\"%s\" points=\"", class_name);
    for (size_t i = 0; i < count; i++)
        text_printf(out, "%s%.1f,%.1f", i > 0 ? " " : "", points[i].x, points[i].y);
    text_put_string(out, "\"/>\n");
}

void svg_circle(struct text_buf *out, const char *class_name, struct svg_point centre,
                double radius)
{
    text_printf(out, "<circle class=\"%s\" cx=\"%.1f\" cy=\"%.1f\" r=\"%.1f\"/>\n", class_name,
                centre.x, centre.y, radius);
}

void svg_text(struct text_buf *out, const char *class_name, struct svg_point at, const char *text)
{
    text_printf(out, "<text class=\"%s\" x=\"%.1f\" y=\"%.1f\">", class_name, at.x, at.y);
    put_escaped(out, text);
    text_put_string(out, "</text>\n");
}
