// Numbers, money, times and durations as people read them. Times are UTC.
const NOTHING = "–";
const known = (x) => typeof x === "number" && Number.isFinite(x);
const grouped = new Intl.NumberFormat("en", { maximumFractionDigits: 0 });
const compact = new Intl.NumberFormat("en", { notation: "compact", maximumSignificantDigits: 3 });

function large(x) {
  return Math.abs(x) >= 1e15 ? x.toExponential(2).replace("e+", "e") : compact.format(x);
}

export function count(x) {
  if (!known(x)) return NOTHING;
  return Math.abs(x) >= 1e6 ? large(x) : grouped.format(x);
}

export function money(x) {
  if (!known(x)) return NOTHING;
  const size = Math.abs(x), sign = x < 0 ? "−" : "";
  if (size >= 1e6) return `${sign}$${large(size)}`;
  const digits = size === 0 || size >= 100 ? 2 : Math.min(Math.max(2 - Math.floor(Math.log10(size)), 2), 9);
  return `${sign}$${size.toLocaleString("en", { minimumFractionDigits: 2, maximumFractionDigits: digits })}`;
}

export function share(x) {
  if (!known(x)) return NOTHING;
  const percent = 100 * x;
  const digits = percent !== 0 && Math.abs(percent) < 10 ? (Math.abs(percent) < 0.1 ? 3 : 1) : percent % 1 === 0 ? 0 : 1;
  return `${percent.toFixed(digits).replace("-", "−")} %`;
}

export function decimal(x, digits = 2) {
  return known(x) ? x.toFixed(digits) : NOTHING;
}

export function seconds(x) {
  if (!known(x)) return NOTHING;
  if (x === 0) return "0 s";
  if (x < 1e-3) return `${(1e6 * x).toFixed(0)} µs`;
  if (x < 1) return `${(1e3 * x).toFixed(x < 0.01 ? 1 : 0)} ms`;
  if (x < 120) return `${x.toFixed(x < 10 ? 2 : 1)} s`;
  if (x < 7200) return `${(x / 60).toFixed(0)} min`;
  return x < 172800 ? `${(x / 3600).toFixed(0)} h` : `${(x / 86400).toFixed(0)} d`;
}

export function bytes(x) {
  return known(x) ? `${(x / 2 ** 20).toFixed(0)} MB` : NOTHING;
}

const two = (x) => String(x).padStart(2, "0");
function parts(t) {
  const d = new Date(1000 * t);
  return Number.isNaN(d.getTime()) ? null : d;
}

export function clock(t) {
  const d = parts(t);
  return d ? `${two(d.getUTCHours())}:${two(d.getUTCMinutes())}:${two(d.getUTCSeconds())}` : NOTHING;
}

export function date(t) {
  const d = parts(t);
  return d ? `${d.getUTCFullYear()}-${two(d.getUTCMonth() + 1)}-${two(d.getUTCDate())}` : NOTHING;
}

const MONTHS = ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];
export function day(t) {
  const d = parts(t);
  return d ? `${d.getUTCDate()} ${MONTHS[d.getUTCMonth()]}` : NOTHING;
}

export function moment(t, step = 1) {
  return step >= 86400 ? date(t) : `${date(t)} ${step >= 60 ? clock(t).slice(0, 5) : clock(t)}`;
}
