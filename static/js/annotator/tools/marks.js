/** What lies over the shapes while one works: the selection with its handles, what is being drawn, the brush. */
import { toStage } from "../../lib/viewport.js";
import { roomyHandles } from "./select.js";

const WHITE = "#fff";
const DARK = "rgb(0 0 0 / 0.75)";
const MOST_VERTICES = 400; // more handles than that are a blot

/** @param {CanvasRenderingContext2D} context in stage px @param {import("../shape-editor.js").ShapeEditor} editor */
export function drawActive(context, editor) {
  const { painter, stage } = editor;
  const view = stage.view;
  const picked = editor.picked().filter((one) => !editor.held.has(one.id)).map((one) => editor.changing.get(one.id) ?? one);
  painter.enter(context);
  for (const one of picked) painter.draw(context, one, view, 2.5);
  const pointed = editor.shapes.find((one) => one.id === editor.pointed && !editor.selected.has(one.id) && editor.isShown(one));
  if (pointed) glow(context, painter, pointed, view);
  if (editor.sketched) painter.draw(context, editor.sketched, view, 2);
  if (editor.proposed?.found) proposal(context, painter, editor.proposed.found, editor.colorOf(editor.categoryId), view);
  for (const one of picked.length > 20 ? [] : [...picked, pointed].filter(Boolean)) painter.name(context, one);
  stagePixels(context);
  const one = editor.only();
  if (one && picked.length && !editor.isReadOnly) handles(context, editor.changing.get(one.id) ?? one, view);
  if (editor.sketched) extent(context, editor.sketched.box, view);
  if (editor.traced) trace(context, editor.traced, view);
  if (editor.proposed) gestures(context, editor.proposed, view);
  if (editor.brush) ring(context, editor.brush, view);
}

const stagePixels = (context) => context.setTransform(devicePixelRatio, 0, 0, devicePixelRatio, 0, 0);

function glow(context, painter, one, view) {
  context.strokeStyle = WHITE;
  context.lineWidth = 1.25 / view.scale;
  context.setLineDash([]);
  context.stroke(painter.pathOf(one).path);
}

function knob(context, x, y, half, isRound) {
  context.beginPath();
  if (isRound) context.arc(x, y, half, 0, 2 * Math.PI);
  else context.rect(Math.round(x) - half, Math.round(y) - half, half * 2, half * 2);
  context.fillStyle = WHITE;
  context.fill();
  context.strokeStyle = DARK;
  context.lineWidth = 1.25;
  context.stroke();
}

function handles(context, one, view) {
  if (one.box) {
    for (const at of roomyHandles(one.box, view.scale)) {
      const { x, y } = toStage(view, at);
      knob(context, x, y, 4, false);
    }
  } else if (one.rings && one.rings.reduce((sum, ring) => sum + ring.length / 2, 0) <= MOST_VERTICES) {
    for (const ring of one.rings) for (let i = 0; i < ring.length; i += 2) knob(context, ring[i] * view.scale + view.x, ring[i + 1] * view.scale + view.y, 3.5, true);
  }
}

/** Write how large a box is, below it. */
function extent(context, box, view) {
  const { x, y } = toStage(view, { x: box.xmax, y: box.ymax });
  context.font = "500 11px 'Inter Variable', system-ui, sans-serif";
  context.textBaseline = "middle";
  const text = `${box.xmax - box.xmin} × ${box.ymax - box.ymin} px`;
  const width = context.measureText(text).width + 12;
  context.fillStyle = "rgb(20 22 26 / 0.86)";
  context.fillRect(x - width, y + 5, width, 18);
  context.fillStyle = WHITE;
  context.fillText(text, x - width + 6, y + 14);
}

function trace(context, { points, at, color }, view) {
  const line = [...points, ...(at ? [at] : [])].map((point) => toStage(view, point));
  const path = new Path2D();
  line.forEach(({ x, y }, i) => (i ? path.lineTo(x, y) : path.moveTo(x, y)));
  context.lineJoin = "round";
  for (const [style, width] of [[DARK, 3.5], [color, 2]]) {
    context.strokeStyle = style;
    context.lineWidth = width;
    context.stroke(path);
  }
  points.forEach((point, i) => {
    const { x, y } = toStage(view, point);
    knob(context, x, y, i === 0 && points.length > 2 ? 5.5 : 3.5, true);
  });
}

/** Draw what magic click found: filled like a label, its outline dashed like what a model found. */
function proposal(context, painter, found, color, view) {
  const { path } = painter.pathOf(found);
  context.globalAlpha = found.box ? 0.12 : 0.45;
  context.fillStyle = color;
  context.fill(path, "evenodd");
  context.globalAlpha = 1;
  for (const [style, width, dash] of [[DARK, 3.5, []], [WHITE, 1.5, [5 / view.scale, 4 / view.scale]]]) {
    context.setLineDash(dash);
    context.strokeStyle = style;
    context.lineWidth = width / view.scale;
    context.stroke(path);
  }
  context.setLineDash([]);
}

/** Draw where one clicked, painted or dragged: a plus adds, a minus takes away. */
function gestures(context, { prompts, drawn }, view) {
  for (const { takes, points, box } of drawn ? [...prompts, drawn] : prompts) {
    if (box) {
      const [a, b] = [toStage(view, { x: box.xmin, y: box.ymin }), toStage(view, { x: box.xmax, y: box.ymax })];
      context.strokeStyle = WHITE;
      context.lineWidth = 1.25;
      context.setLineDash([3, 3]);
      context.strokeRect(a.x, a.y, b.x - a.x, b.y - a.y);
      context.setLineDash([]);
      sign(context, a, takes);
    } else if (points?.length) {
      const line = points.map(([x, y]) => toStage(view, { x, y }));
      const path = new Path2D();
      line.forEach(({ x, y }, i) => (i ? path.lineTo(x, y) : path.moveTo(x, y)));
      for (const [style, width] of [[DARK, 4], [WHITE, 1.5]]) {
        context.strokeStyle = style;
        context.lineWidth = width;
        if (line.length > 1) context.stroke(path);
      }
      sign(context, line[0], takes);
    }
  }
}

function sign(context, { x, y }, takes) {
  context.beginPath();
  context.arc(x, y, 6, 0, 2 * Math.PI);
  context.fillStyle = takes ? DARK : WHITE;
  context.fill();
  context.strokeStyle = takes ? WHITE : DARK;
  context.lineWidth = 1.5;
  context.stroke();
  context.beginPath();
  context.moveTo(x - 3, y);
  context.lineTo(x + 3, y);
  if (!takes) {
    context.moveTo(x, y - 3);
    context.lineTo(x, y + 3);
  }
  context.stroke();
}

function ring(context, { x, y, radius, erases }, view) {
  const centre = toStage(view, { x, y });
  for (const [style, width] of [[DARK, 3], [WHITE, 1.25]]) {
    context.beginPath();
    context.arc(centre.x, centre.y, Math.max(radius * view.scale, 1), 0, 2 * Math.PI);
    context.setLineDash(erases ? [4, 3] : []);
    context.strokeStyle = style;
    context.lineWidth = width;
    context.stroke();
  }
  context.setLineDash([]);
}
