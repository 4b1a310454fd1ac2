// Shows the description of the API, to be read and tried out.
"use strict";

async function showDescription() {
  // Relative to this page: the server may stand behind a path.
  const address = new URL("../openapi.json", window.location.href);
  const description = await (await fetch(address, { cache: "no-store" })).json();
  // Swagger UI 3.33 does not understand an address that is relative to the description's.
  description.servers = [{ url: new URL(".", address).href.replace(/\/$/, "") }];
  window.SwaggerUIBundle({
    spec: description,
    dom_id: "#swagger-ui",
    deepLinking: true,
    defaultModelsExpandDepth: 0,
    validatorUrl: null,
    presets: [window.SwaggerUIBundle.presets.apis],
    layout: "BaseLayout",
  });
}

showDescription().catch((error) => {
  document.getElementById("swagger-ui").textContent = `The description of the API cannot be shown: ${error.message}`;
});
