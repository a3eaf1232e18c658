// What a page shows, as the browser has laid it out. Coordinates are those of a picture of the whole page.
({
  // Where which colour must be seen, if charts are drawn at all.
  marks() {
    const found = [];
    for (const cell of document.querySelectorAll("svg[role=img] .cell")) {
      const box = cell.getBoundingClientRect();
      const color = getComputedStyle(cell).fill;
      found.push({ kind: "cell", color, points: [[box.left + 4 + scrollX, box.top + 4 + scrollY]] });
    }
    for (const line of document.querySelectorAll("svg[role=img] .line")) {
      const length = line.getTotalLength();
      const place = line.getScreenCTM();
      const points = [];
      for (let number = 0; number <= 40; number += 1) {
        const point = line.getPointAtLength((length * number) / 40).matrixTransform(place);
        points.push([point.x + scrollX, point.y + scrollY]);
      }
      found.push({ kind: "line", color: getComputedStyle(line).stroke, points });
    }
    return found;
  },

  // Texts of charts that run into each other, or out of their picture.
  collisions() {
    const found = [];
    for (const picture of document.querySelectorAll("svg[role=img]")) {
      const frame = picture.getBoundingClientRect();
      const texts = [...picture.querySelectorAll("text")].map((each) => [each.textContent, each.getBoundingClientRect()]);
      texts.forEach(([words, box], number) => {
        if (box.left < frame.left - 1 || box.right > frame.right + 1 || box.bottom > frame.bottom + 1) found.push(words);
        for (const [other, beside] of texts.slice(number + 1)) {
          const width = Math.min(box.right, beside.right) - Math.max(box.left, beside.left);
          // Boxes are a line high, glyphs less: lines may touch.
          const height = Math.min(box.bottom, beside.bottom) - Math.max(box.top, beside.top);
          if (width > 1 && height > 3) found.push(`${words} | ${other}`);
        }
      });
    }
    return found;
  },

  // Contrast (WCAG 2.2, 1.4.3 and 1.4.11) of every text with what is behind it, and of what is drawn.
  contrasts() {
    const rgb = (color) => color.match(/[\d.]+/g).map(Number);
    const luminance = (color) => {
      const [r, g, b] = rgb(color).map((each) => {
        const share = each / 255;
        return share <= 0.04045 ? share / 12.92 : ((share + 0.055) / 1.055) ** 2.4;
      });
      return 0.2126 * r + 0.7152 * g + 0.0722 * b;
    };
    const ratio = (one, other) => {
      const [low, high] = [luminance(one), luminance(other)].sort((a, b) => a - b);
      return (high + 0.05) / (low + 0.05);
    };
    const ground = (element) => {
      const color = getComputedStyle(element).backgroundColor;
      return rgb(color)[3] === 0 ? ground(element.parentElement) : color;
    };
    const found = [];
    for (const element of document.body.querySelectorAll("*")) {
      const style = getComputedStyle(element);
      const words = [...element.childNodes].filter((each) => each.nodeType === Node.TEXT_NODE && each.data.trim());
      const seen = element.getClientRects().length > 0 && !element.closest(".unseen, .skip, option");
      if (seen && words.length) {
        const drawn = element instanceof SVGElement;
        const behind = element.matches(".value") ? getComputedStyle(element.previousElementSibling).fill : ground(element);
        found.push({ what: `text ${words[0].data.trim()}`, least: 4.5, is: ratio(drawn ? style.fill : style.color, behind) });
      }
      if (element.matches(".line, .best")) found.push({ what: element.className.baseVal, least: 3, is: ratio(style.stroke, ground(element)) });
      if (seen && element.matches("button, select")) {
        found.push({ what: `edge of ${element.id}`, least: 3, is: ratio(style.borderTopColor, ground(element.parentElement)) });
      }
    }
    return found;
  },

  // What a keyboard must reach, in order.
  reachable() {
    const wanted = document.querySelectorAll("a[href], button, select, summary, [tabindex='0']");
    return [...wanted].filter((each) => each.checkVisibility()).map((each) => each.id);
  },
});
