"use strict";

const at = (id) => document.getElementById(id);
const shownMax = 1000; // rows drawn of one result; the count tells of the rest

function make(tag, text, cls) {
  const e = document.createElement(tag);
  if (text !== undefined) e.textContent = text;
  if (cls) e.className = cls;
  return e;
}

async function ask(sql) {
  const headers = { "Content-Type": "application/json" };
  const token = sessionStorage.getItem("token");
  if (token) headers.Authorization = "Bearer " + token;
  const body = { sql };
  const namespace = at("namespace").value.trim();
  if (namespace) body.namespace = namespace;
  const reply = await fetch("/api/sql", { method: "POST", headers, body: JSON.stringify(body) });
  return reply.json();
}

function cell(v) {
  if (v === null) return make("td", "NULL", "null");
  if (typeof v === "object") return make("td", JSON.stringify(v));
  return make("td", String(v), typeof v === "number" ? "number" : undefined);
}

function draw(r) {
  const box = make("div", undefined, "result");
  const facts = [r.statement];
  if (r.row_count !== undefined) facts.push(r.row_count + " rows");
  if (r.affected_rows !== undefined) facts.push(r.affected_rows + " affected", "seq " + r.seq);
  facts.push(r.execution_time_ms + " ms");
  if (r.rows.length > shownMax) facts.push("the first " + shownMax + " are shown");
  box.append(make("h2", facts.join(" · ")));
  if (!r.columns) return box;
  const table = make("table");
  const head = table.createTHead().insertRow();
  for (const c of r.columns) {
    const th = make("th", c.name);
    th.append(make("small", c.type));
    head.append(th);
  }
  const tbody = table.createTBody();
  for (const row of r.rows.slice(0, shownMax)) {
    const tr = tbody.insertRow();
    for (const c of r.columns) tr.append(cell(row[c.name]));
  }
  box.append(table);
  return box;
}

function wrong(e) {
  let text = e.code + ": " + e.message;
  if (e.details) text += "\n" + e.details;
  if (e.position !== undefined) text += "\nat byte " + e.position;
  return make("p", text, "error");
}

async function run() {
  const text = at("sql");
  const sql = text.selectionStart < text.selectionEnd ? text.value.slice(text.selectionStart, text.selectionEnd) : text.value;
  at("run").disabled = true;
  at("status").textContent = "running …";
  try {
    const answer = await ask(sql);
    at("results").replaceChildren(...(answer.error ? [wrong(answer.error)] : answer.results.map(draw)));
    at("status").textContent = answer.error ? "" : answer.execution_time_ms + " ms";
  } catch (e) {
    at("results").replaceChildren(make("p", "The server does not answer: " + e.message, "error"));
    at("status").textContent = "";
  } finally {
    at("run").disabled = false;
  }
}

async function signIn() {
  const token = at("token").value.trim();
  if (token) sessionStorage.setItem("token", token);
  at("token").value = "";
  try {
    const answer = await ask("SELECT CURRENT_USER() AS u, CURRENT_ROLE() AS r");
    if (answer.error) {
      if (answer.error.code === "UNAUTHENTICATED") sessionStorage.removeItem("token");
      at("who").textContent = answer.error.message;
      return;
    }
    const row = answer.results[0].rows[0];
    at("who").textContent = row.u + " (" + row.r + ")";
  } catch (e) {
    at("who").textContent = "the server does not answer";
  }
}

at("signin").addEventListener("submit", (e) => { e.preventDefault(); signIn(); });
at("ask").addEventListener("submit", (e) => { e.preventDefault(); run(); });
at("sql").addEventListener("keydown", (e) => {
  if (e.key === "Enter" && (e.ctrlKey || e.metaKey)) { e.preventDefault(); run(); }
});
if (sessionStorage.getItem("token")) signIn();
