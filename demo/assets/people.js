// Boxes and labels over a picture, drawn by the page: letters stay 12 px or more however small the picture is.
// A box belongs to a person and is white; colours belong to actions. What is not proven on real video is hatched.
(() => {
  "use strict";
  const FONT_PX = 13, LINE_PX = 18, PAD_PX = 5, SWATCH_PX = 10, MOST_LINES = 4;

  function swatch(pen, x, y, colour, proven) {
    pen.fillStyle = colour;
    pen.fillRect(x, y, SWATCH_PX, SWATCH_PX);
    if (proven) return;
    pen.save();
    pen.beginPath();
    pen.rect(x, y, SWATCH_PX, SWATCH_PX);
    pen.clip();
    pen.strokeStyle = "#111";
    pen.lineWidth = 1.6;
    for (let i = -SWATCH_PX; i < SWATCH_PX; i += 4) {
      pen.beginPath();
      pen.moveTo(x + i, y + SWATCH_PX);
      pen.lineTo(x + i + SWATCH_PX, y);
      pen.stroke();
    }
    pen.restore();
  }

  function rows(person, styles, most) {
    const name = person.id >= 0 ? `#${person.id}` : "person";
    const actions = person.actions.slice(0, most);
    const list = actions.map(([action, score]) => {
      const [colour, proven] = styles[action] || ["#7f7f7f", true];
      return { text: action, score: score.toFixed(2), colour, proven };
    });
    if (!list.length) return [{ text: name + (person.waiting ? " …" : " –"), score: "" }];
    list[0].text = `${name} ${list[0].text}`;
    return list;
  }

  const meets = (a, b) => a.x < b.x + b.w && b.x < a.x + a.w && a.y < b.y + b.h && b.y < a.y + a.h;

  function place(size, box, placed, width, height) {
    const spots = [
      [box.x, box.y - size.h], [box.x, box.y + box.h], [box.x, box.y], [box.x + box.w, box.y],
      [box.x - size.w, box.y], [box.x, box.y + box.h - size.h],
    ];
    for (const [x, y] of spots) {
      const spot = { x: Math.max(0, Math.min(x, width - size.w)), y, w: size.w, h: size.h };
      if (spot.y < 0 || spot.y + spot.h > height) continue;
      if (!placed.some((other) => meets(spot, other))) return spot;
    }
    return null;
  }

  // Draws people over what the canvas shows. `people`: {id, box: shares of the picture, waiting, coasting,
  // actions: [[name, score]]}; `styles`: by action [colour, proven]; `ratio`: canvas pixels in a CSS pixel.
  window.drawPeople = (pen, people, styles, ratio) => {
    pen.save();
    pen.scale(ratio, ratio);
    const width = pen.canvas.width / ratio, height = pen.canvas.height / ratio;
    pen.font = `600 ${FONT_PX}px system-ui, sans-serif`;
    pen.textBaseline = "middle";
    const placed = [];
    const boxes = people.map((person) => {
      const [x1, y1, x2, y2] = person.box;
      return { x: x1 * width, y: y1 * height, w: (x2 - x1) * width, h: (y2 - y1) * height };
    });
    boxes.forEach((box, i) => {
      pen.lineJoin = "round";
      for (const [line, colour] of [[4, "rgba(0,0,0,0.65)"], [2, "#fff"]]) {
        pen.lineWidth = line;
        pen.strokeStyle = colour;
        // Dashes: the newest look did not see this person.
        pen.setLineDash(people[i].coasting ? [8, 8] : []);
        pen.strokeRect(box.x, box.y, box.w, box.h);
      }
      pen.setLineDash([]);
      // The colour of what one does best marks the foot of the box, so that it shows from afar.
      const best = people[i].actions[0];
      if (best) {
        pen.fillStyle = (styles[best[0]] || ["#7f7f7f"])[0];
        pen.fillRect(box.x, box.y + box.h - 4, box.w, 4);
      }
    });
    people.forEach((person, i) => {
      for (const most of [MOST_LINES, 1, 0]) {
        const lines = rows(person, styles, most);
        const w = Math.max(...lines.map((line) =>
          pen.measureText(line.text).width + (line.score ? SWATCH_PX + 10 + pen.measureText(line.score).width : 0))) + 2 * PAD_PX;
        const spot = place({ w, h: lines.length * LINE_PX + 4 }, boxes[i], placed, width, height);
        if (!spot) continue;
        placed.push(spot);
        pen.fillStyle = "rgba(16, 18, 23, 0.84)";
        pen.fillRect(spot.x, spot.y, spot.w, spot.h);
        lines.forEach((line, j) => {
          const y = spot.y + 2 + LINE_PX * (j + 0.5);
          let x = spot.x + PAD_PX;
          if (line.score) {
            swatch(pen, x, y - SWATCH_PX / 2, line.colour, line.proven);
            x += SWATCH_PX + 5;
          }
          pen.textAlign = "left";
          pen.fillStyle = "#fff";
          pen.fillText(line.text, x, y);
          pen.textAlign = "right";
          pen.fillText(line.score, spot.x + spot.w - PAD_PX, y);
        });
        break;
      }
    });
    pen.restore();
  };

  // A canvas as sharp as the screen: its pixels for the CSS size that it is shown at. Gives pixels in a CSS pixel.
  window.fitCanvas = (canvas, fallback) => {
    const shown = canvas.getBoundingClientRect(), ratio = Math.min(window.devicePixelRatio || 1, 2);
    const w = Math.round((shown.width || fallback[0]) * ratio), h = Math.round((shown.height || fallback[1]) * ratio);
    if (canvas.width !== w || canvas.height !== h) {
      canvas.width = w;
      canvas.height = h;
    }
    return ratio;
  };
})();
