// Shows the description of the API. The addresses are relative: the server may stand behind a path.
"use strict";

const description = new URL("../openapi.json", window.location.href).href;
const ui = window.SwaggerUIBundle({
  url: description,
  dom_id: "#swagger-ui",
  deepLinking: true,
  defaultModelsExpandDepth: 0,
  validatorUrl: null,
  presets: [window.SwaggerUIBundle.presets.apis],
  layout: "BaseLayout",
  // Whoever has given a key to the page for people in this tab need not give it again.
  onComplete() {
    const key = window.sessionStorage.getItem("abba-api-key");
    if (key !== null) ui.preauthorizeApiKey("key", "Key " + key);
  },
});
