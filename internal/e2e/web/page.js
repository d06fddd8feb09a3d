// What tests ask of a page beyond what the protocol of the browser tells. Evaluated anew each time; keeps nothing.
({
	// point is where to click an element: its centre, once that is in view and nothing lies over it. From then on the element
	// knows whether a click has reached it, for hit.
	point(el) {
		el.scrollIntoView({ block: "nearest", inline: "nearest", behavior: "instant" });
		const r = el.getBoundingClientRect();
		if (r.width === 0 || r.height === 0) return { fault: "has no size" };
		const x = (Math.max(r.left, 0) + Math.min(r.right, innerWidth)) / 2;
		const y = (Math.max(r.top, 0) + Math.min(r.bottom, innerHeight)) / 2;
		const hit = document.elementFromPoint(x, y);
		if (!hit) return { fault: "is out of view" };
		const label = el.labels ? [...el.labels] : [];
		if (![el, ...label].some((e) => e.contains(hit))) {
			return { fault: `is covered by ${hit.outerHTML.slice(0, 120)}` };
		}
		if (el.disabled) return { fault: "is disabled" };
		el.deaf?.abort();
		el.deaf = new AbortController();
		el.clicked = false;
		const own = [el, ...label];
		addEventListener("click", (e) => { el.clicked ||= own.some((o) => e.composedPath().includes(o)); }, { capture: true, signal: el.deaf.signal });
		return { x, y };
	},

	// hit tells whether a click has reached the element: what the page paints anew between press and release hears none.
	async hit(el) {
		for (let i = 0; i < 10 && !el.clicked; i++) await new Promise((done) => setTimeout(done, 10));
		el.deaf.abort();
		return el.clicked;
	},

	// seen tells whether an element is there to be seen.
	seen(el) {
		return el.checkVisibility({ opacityProperty: true, visibilityProperty: true, contentVisibilityAuto: true }) && el.getClientRects().length > 0;
	},

	// messages are those of the open conversation, from top to bottom.
	messages() {
		return [...document.querySelectorAll('[role="log"] article')].map((a) => ({
			id: Number(a.dataset.id ?? 0),
			client: a.dataset.clientId ?? "",
			state: a.dataset.state ?? "",
			mark: a.querySelector(".mark")?.dataset.mark ?? "",
			text: a.querySelector(".text")?.textContent ?? "",
			all: a.innerText,
			pictures: [...a.querySelectorAll("img")].filter((i) => i.complete && i.naturalWidth > 0).map((i) => i.naturalWidth),
		}));
	},

	// wide are the elements that stick out of the window to the side, unless they lie in something that scrolls; text may be
	// cut off as well, but nothing that one uses.
	wide() {
		const found = [];
		const root = document.documentElement;
		if (root.scrollWidth > root.clientWidth) found.push(`the page is ${root.scrollWidth} wide in ${root.clientWidth}`);
		for (const el of document.body.querySelectorAll("*")) {
			const r = el.getBoundingClientRect();
			if (r.width === 0 || r.height === 0 || (r.right <= innerWidth + 1 && r.left >= -1)) continue;
			const used = el.matches("button, a, input, select, textarea, summary, [tabindex]");
			let cut = false;
			for (let up = el.parentElement; up && up !== document.body; up = up.parentElement) {
				const c = getComputedStyle(up);
				const b = up.getBoundingClientRect();
				if ((used ? ["auto", "scroll"].includes(c.overflowX) : c.overflowX !== "visible") && b.right <= innerWidth + 1 && b.left >= -1) cut = true;
			}
			const style = getComputedStyle(el);
			if (!cut && style.visibility !== "hidden" && !(style.clipPath !== "none" || style.clip !== "auto")) {
				found.push(`${el.tagName.toLowerCase()}.${el.className} from ${Math.round(r.left)} to ${Math.round(r.right)}`);
			}
		}
		return found.slice(0, 5);
	},

	// pale are texts whose contrast to what lies behind them is below what can be read well: 4.5, and 3 where they are large.
	pale() {
		const canvas = document.createElement("canvas");
		canvas.width = canvas.height = 1;
		const pen = canvas.getContext("2d", { willReadFrequently: true });
		// over paints colours one over the other, the first at the bottom, and says what is seen.
		const over = (colours) => {
			pen.fillStyle = "white";
			pen.fillRect(0, 0, 1, 1);
			for (const c of colours) {
				pen.fillStyle = c;
				pen.fillRect(0, 0, 1, 1);
			}
			return [...pen.getImageData(0, 0, 1, 1).data].slice(0, 3);
		};
		const luminance = (rgb) => {
			const [r, g, b] = rgb.map((v) => {
				v /= 255;
				return v <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4;
			});
			return 0.2126 * r + 0.7152 * g + 0.0722 * b;
		};
		const found = new Map();
		let looked = 0;
		const check = (el, text, style) => {
			if (!el.checkVisibility({ opacityProperty: true, visibilityProperty: true }) || el.closest(":disabled, [aria-disabled=true], [inert]")) return;
			const r = el.getBoundingClientRect();
			if (r.width < 2 || r.height < 2 || style.color === "transparent") return; // for screen readers only
			const behind = [];
			let opacity = 1;
			for (let up = el; up; up = up.parentElement) {
				const c = getComputedStyle(up);
				behind.unshift(c.backgroundColor);
				opacity *= Number(c.opacity);
			}
			behind.unshift(matchMedia("(prefers-color-scheme: dark)").matches ? "#121212" : "white");
			looked++;
			const back = over(behind);
			let front = over([...behind, style.color]);
			front = front.map((v, i) => v * opacity + back[i] * (1 - opacity));
			const [a, b] = [luminance(front), luminance(back)].sort((x, y) => y - x);
			const ratio = (a + 0.05) / (b + 0.05);
			const size = parseFloat(style.fontSize);
			const large = size >= 24 || (size >= 18.66 && Number(style.fontWeight) >= 700);
			if (ratio < (large ? 3 : 4.5)) {
				found.set(`${el.tagName.toLowerCase()}.${el.className} ${ratio.toFixed(2)}`, `"${text.slice(0, 30)}" (${front.map(Math.round)} on ${back})`);
			}
		};
		const walk = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
		while (walk.nextNode()) {
			const text = walk.currentNode.data.trim();
			const el = walk.currentNode.parentElement;
			if (text !== "" && el && !["SCRIPT", "STYLE", "NOSCRIPT", "TEMPLATE", "OPTION"].includes(el.tagName)) check(el, text, getComputedStyle(el));
		}
		for (const el of document.querySelectorAll("input[placeholder], textarea[placeholder]")) {
			if (el.value === "") check(el, el.placeholder, getComputedStyle(el, "::placeholder"));
		}
		return { looked, found: [...found].map(([where, what]) => `${where} ${what}`) };
	},

	// give has files dropped on an element, or pasted into it.
	give(el, how, files) {
		const data = new DataTransfer();
		for (const f of files) {
			data.items.add(new File([Uint8Array.from(atob(f.base64), (c) => c.charCodeAt(0))], f.name, { type: f.type }));
		}
		if (how === "paste") {
			el.dispatchEvent(new ClipboardEvent("paste", { clipboardData: data, bubbles: true, cancelable: true }));
			return;
		}
		for (const kind of ["dragenter", "dragover", "drop"]) {
			el.dispatchEvent(new DragEvent(kind, { dataTransfer: data, bubbles: true, cancelable: true }));
		}
	},
})
