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
  for (const one of picked.length > 20 ? [] : [...picked, pointed].filter(Boolean)) painter.name(context, one);
  stagePixels(context);
  const one = editor.only();
  if (one && picked.length && !editor.isReadOnly) handles(context, editor.changing.get(one.id) ?? one, view);
  if (editor.sketched) extent(context, editor.sketched.box, view);
  if (editor.traced) trace(context, editor.traced, view);
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
