// Passkeys (W3C Web Authentication Level 3), and small comforts. Every page but a passkey's works without this file.
"use strict";
(() => {
  const all = (selector, root = document) => [...root.querySelectorAll(selector)];
  const bytes = (text) => Uint8Array.from(atob(text.replace(/-/g, "+").replace(/_/g, "/")), (c) => c.charCodeAt(0));
  const text = (buffer) =>
    btoa(String.fromCharCode(...new Uint8Array(buffer))).replace(/\+/g, "-").replace(/\//g, "_").replace(/=+$/, "");

  // --- Passkeys ---------------------------------------------------------------------------------------------------

  // Level 3 §5.1.8/9 in browsers that lack parseCreationOptionsFromJSON and parseRequestOptionsFromJSON.
  const descriptors = (list) => (list || []).map((entry) => ({ ...entry, id: bytes(entry.id) }));
  const parse = {
    get: (o) => ({ ...o, challenge: bytes(o.challenge), allowCredentials: descriptors(o.allowCredentials) }),
    create: (o) => ({
      ...o,
      challenge: bytes(o.challenge),
      user: { ...o.user, id: bytes(o.user.id) },
      excludeCredentials: descriptors(o.excludeCredentials),
    }),
  };

  const plain = (credential) => {
    if (credential.toJSON) {
      try { return credential.toJSON(); } catch { /* some password managers' own credentials refuse */ }
    }
    const answer = credential.response;
    const response = { clientDataJSON: text(answer.clientDataJSON) };
    for (const name of ["attestationObject", "authenticatorData", "signature", "userHandle"]) {
      if (answer[name]) response[name] = text(answer[name]);
    }
    if (answer.getTransports) response.transports = answer.getTransports();
    return {
      id: credential.id, rawId: text(credential.rawId), type: credential.type, response,
      authenticatorAttachment: credential.authenticatorAttachment,
      clientExtensionResults: credential.getClientExtensionResults(),
    };
  };

  let waiting = null; // the browser's own suggestion list, stopped before anything else asks

  const ask = async (button, mediation) => {
    waiting?.abort();
    const controller = new AbortController();
    waiting = mediation ? controller : null;
    const kind = button.dataset.passkey;
    const form = button.form;
    const options = JSON.parse(button.dataset.options);
    const typed = kind === "create" && form.elements.namedItem("username")?.value;
    if (typed) options.user.name = options.user.displayName = typed; // by this name the device will offer it
    const request = { publicKey: parse[kind](options), signal: controller.signal };
    if (mediation) request.mediation = mediation;
    const credential = await navigator.credentials[kind](request);
    form.elements.namedItem("credential").value = JSON.stringify(plain(credential));
    HTMLFormElement.prototype.submit.call(form); // an empty password field must not hold it up
  };

  const complain = (button, error) => {
    const place = button.form.querySelector("[data-passkey-problem]");
    const message = place.querySelector("span");
    const kind = { NotAllowedError: "stopped", AbortError: "stopped", InvalidStateError: "known" }[error.name] || "failed";
    place.hidden = false;
    message.textContent = message.dataset[kind];
  };

  const passkeys = async () => {
    const buttons = all("[data-passkey]");
    if (!buttons.length || !window.PublicKeyCredential || !navigator.credentials) return;
    all("[data-passkey-part]").forEach((part) => { part.hidden = false; });
    all("[data-passkey-missing]").forEach((part) => { part.hidden = true; });
    for (const button of buttons) {
      button.hidden = false;
      if (!button.form.querySelector("[type=submit]")) {
        button.form.addEventListener("submit", (event) => { event.preventDefault(); button.click(); }); // Enter in a field
      }
      button.addEventListener("click", async () => {
        // A name that is missing is asked for before the device makes anything; a password is not what this button is about.
        const fields = button.dataset.passkey === "create" ? [...button.form.elements] : [];
        if (!fields.every((field) => field.type === "password" || field.reportValidity())) return;
        button.form.querySelector("[data-passkey-problem]").hidden = true;
        button.setAttribute("aria-busy", "true");
        try { await ask(button); } catch (error) { complain(button, error); } finally { button.removeAttribute("aria-busy"); }
      });
    }
    const first = document.querySelector("[data-passkey=get][data-conditional]");
    if (first && (await PublicKeyCredential.isConditionalMediationAvailable?.())) {
      ask(first, "conditional").catch(() => {}); // nobody asked for it, so nobody is told that it ended
    }
  };

  // --- Comforts ---------------------------------------------------------------------------------------------------

  const reveal = (button) => {
    const input = document.getElementById(button.dataset.reveal);
    const show = (shown) => {
      input.type = shown ? "text" : "password";
      button.toggleAttribute("data-shown", shown); // what it does is its name: it is no button that stays pressed, too
    };
    button.hidden = false;
    button.addEventListener("click", () => { show(input.type === "password"); input.focus(); });
    input.form.addEventListener("submit", () => show(false));
  };

  // A form that was sent says so and is not sent twice; going back, or waiting in vain, finds it as it was.
  const busy = (form) => {
    form.addEventListener("submit", (event) => {
      if (form.dataset.sent) { event.preventDefault(); return; }
      form.dataset.sent = "yes";
      event.submitter?.setAttribute("aria-busy", "true");
      setTimeout(() => { delete form.dataset.sent; event.submitter?.removeAttribute("aria-busy"); }, 10_000);
    });
  };
  window.addEventListener("pageshow", (event) => {
    // Chromium keeps in memory even what must not be stored. Whoever a page shows may have signed out since, and a secret is shown once.
    if (event.persisted && document.querySelector(".topbar-person, .person")) {
      document.body.hidden = true;
      location.reload();
    }
    all("form[data-sent]").forEach((form) => { delete form.dataset.sent; });
    all("[aria-busy]").forEach((button) => button.removeAttribute("aria-busy"));
  });

  const copy = (button) => {
    if (!navigator.clipboard) return;
    const label = button.querySelector("span");
    const aloud = button.nextElementSibling;
    const before = label.textContent;
    button.hidden = false;
    button.addEventListener("click", async () => {
      await navigator.clipboard.writeText(document.getElementById(button.dataset.copy).innerText.trim());
      label.textContent = aloud.textContent = label.dataset.copied;
      setTimeout(() => { label.textContent = before; aloud.textContent = ""; }, 2500);
    });
  };

  const local = (time) => {
    const format = new Intl.DateTimeFormat(time.dataset.local || document.documentElement.lang, {
      year: "numeric", month: "long", day: "numeric", hour: "2-digit", minute: "2-digit", timeZoneName: "short",
    });
    time.title = time.textContent;
    time.textContent = format.format(new Date(time.dateTime));
  };

  const continueAfterFrames = (link) => {
    const go = () => { location.replace(link.href); };
    const frames = all("[data-logout-frame]");
    let left = frames.length;
    if (!left) return;
    frames.forEach((frame) => frame.addEventListener("load", () => { left -= 1; if (!left) setTimeout(go, 600); }, { once: true }));
    setTimeout(go, 5000);
  };

  // Back or reload asks for the page of a form that was answered, and does not send the form again.
  if (document.body.dataset.here) history.replaceState(null, "", document.body.dataset.here);

  all("[data-reveal]").forEach(reveal);
  all("form[method=post]").forEach(busy);
  all("[data-copy]").forEach(copy);
  all("time[data-local]").forEach(local);
  all("[data-continue]").forEach(continueAfterFrames);
  all("form[data-autosubmit]").forEach((form) => HTMLFormElement.prototype.submit.call(form));
  all(".sections [aria-current]").forEach((link) => link.scrollIntoView({ inline: "center", block: "nearest" }));
  passkeys();
})();
