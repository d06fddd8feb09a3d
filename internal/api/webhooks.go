package api

import (
	"context"
	"encoding/base64"
	"fmt"
	"net/http"
	"net/url"
	"time"

	"godwit/commands"
	"godwit/schema/query"
)

// Webhook is a target of pushes, without its secret.
type Webhook struct {
	ID       string    `json:"id"`
	URL      string    `json:"url"`
	Disabled bool      `json:"disabled" doc:"Nothing is sent until it is enabled; what is due then is sent"`
	Added    time.Time `json:"added"`
}

// NewWebhook is a target with its secret.
type NewWebhook struct {
	Webhook
	Secret string `json:"secret" doc:"Signs what is sent. It is shown this once"`
}

func webhookOf(w *query.Webhook) Webhook {
	return Webhook{ID: w.GetId(), URL: w.GetUrl(), Disabled: w.GetDisabled(), Added: time.UnixMilli(w.GetAdded()).UTC()}
}

func (a *API) webhooks() {
	const tag = "Webhooks"
	register(a, route{id: "list-webhooks", method: http.MethodGet, path: "/webhooks", scope: WebhooksScope, tag: tag,
		summary: "List the targets of pushes"}, a.listWebhooks)
	register(a, route{id: "create-webhook", method: http.MethodPost, path: "/webhooks", scope: WebhooksScope, tag: tag, status: http.StatusCreated,
		summary: "Make a target of pushes", description: "It gets what happens from now on."}, a.createWebhook)
	register(a, route{id: "change-webhook", method: http.MethodPatch, path: "/webhooks/{webhook}", scope: WebhooksScope, tag: tag,
		summary: "Change a target's URL, or disable it"}, a.changeWebhook)
	register(a, route{id: "delete-webhook", method: http.MethodDelete, path: "/webhooks/{webhook}", scope: WebhooksScope, tag: tag,
		summary: "Forget a target"}, a.deleteWebhook)
}

// targets are all targets by id.
func (a *API) targets(ctx context.Context) ([]*query.Webhook, error) {
	ans, err := a.cfg.Node.Ask(ctx, &query.Request{Body: &query.Request_Webhooks{Webhooks: &query.Webhooks{}}})
	return ans.GetWebhooks().GetWebhooks(), err
}

func (a *API) target(ctx context.Context, id string) (*query.Webhook, error) {
	all, err := a.targets(ctx)
	if err != nil {
		return nil, err
	}
	for _, w := range all {
		if w.GetId() == id {
			return w, nil
		}
	}
	return nil, nil
}

type webhookList struct {
	Body struct {
		Webhooks []Webhook `json:"webhooks" nullable:"false"`
	}
}

func (a *API) listWebhooks(ctx context.Context, _ *struct{}) (*webhookList, error) {
	all, err := a.targets(ctx)
	if err != nil {
		return nil, err
	}
	out := &webhookList{}
	out.Body.Webhooks = []Webhook{}
	for _, w := range all {
		out.Body.Webhooks = append(out.Body.Webhooks, webhookOf(w))
	}
	return out, nil
}

func (a *API) createWebhook(ctx context.Context, in *struct {
	Body struct {
		URL string `json:"url" minLength:"1" maxLength:"2048" doc:"Absolute, http or https"`
	}
}) (*struct{ Body NewWebhook }, error) {
	c := callOf(ctx)
	id, key, err := c.newSecret("webhook")
	if err != nil {
		return nil, err
	}
	secret := base64.RawURLEncoding.EncodeToString(key)
	_, known, err := a.first(ctx, 0)
	if err != nil {
		return nil, err
	}
	if !known {
		if err := checkURL(in.Body.URL); err != nil {
			return nil, err
		}
		ev, err := commands.SetWebhook{At: a.now(), ID: id, URL: in.Body.URL, Secret: secret, By: c.name}.Decide(commands.WebhookState{})
		if err != nil {
			return nil, err
		}
		// Where it begins is noted first: a target that nobody knows the beginning of would miss what comes meanwhile.
		if a.cfg.BeginWebhook != nil {
			if err := a.cfg.BeginWebhook(ctx, id); err != nil {
				return nil, fmt.Errorf("begin a webhook: %w", err)
			}
		}
		if _, err := a.people(ctx, 0, ev, nil); err != nil {
			return nil, err
		}
	}
	w, err := a.target(ctx, id)
	if err != nil {
		return nil, err
	}
	if w == nil {
		return nil, noSuchWebhook(id) // made and deleted
	}
	return &struct{ Body NewWebhook }{NewWebhook{webhookOf(w), secret}}, nil
}

// checkURL refuses what could never be posted to; the rule checks what the URL is of.
func checkURL(text string) error {
	if _, err := url.Parse(text); err != nil {
		return fmt.Errorf("%w: the URL can't be read", commands.ErrField)
	}
	return nil
}

func noSuchWebhook(id string) *Problem {
	return notFound(commands.ErrNoSuchWebhook.Name(), fmt.Sprintf("there is no webhook target %q", id))
}

// OfWebhook is the path of one target.
type OfWebhook struct {
	Webhook string `path:"webhook" maxLength:"64" doc:"Id of the target"`
}

func (a *API) changeWebhook(ctx context.Context, in *struct {
	OfWebhook
	Body struct {
		URL      *string `json:"url,omitempty" minLength:"1" maxLength:"2048"`
		Disabled *bool   `json:"disabled,omitempty"`
	}
}) (*struct{ Body Webhook }, error) {
	w, err := a.target(ctx, in.Webhook)
	switch {
	case err != nil:
		return nil, err
	case w == nil:
		return nil, noSuchWebhook(in.Webhook)
	case in.Body.URL == nil && in.Body.Disabled == nil:
		return nil, commands.ErrNothingToChange
	}
	set := commands.SetWebhook{At: a.now(), ID: in.Webhook, URL: w.GetUrl(), Disabled: w.GetDisabled(), By: callOf(ctx).name}
	if in.Body.URL != nil {
		if err := checkURL(*in.Body.URL); err != nil {
			return nil, err
		}
		set.URL = *in.Body.URL
	}
	if in.Body.Disabled != nil {
		set.Disabled = *in.Body.Disabled
	}
	ev, err := set.Decide(commands.WebhookState{Exists: true})
	if _, err = a.people(ctx, 0, ev, err); err != nil {
		return nil, err
	}
	if w, err = a.target(ctx, in.Webhook); err != nil {
		return nil, err
	}
	if w == nil {
		return nil, noSuchWebhook(in.Webhook)
	}
	return &struct{ Body Webhook }{webhookOf(w)}, nil
}

func (a *API) deleteWebhook(ctx context.Context, in *OfWebhook) (*struct{}, error) {
	if _, known, err := a.first(ctx, 0); known || err != nil {
		return nil, err
	}
	w, err := a.target(ctx, in.Webhook)
	if err != nil {
		return nil, err
	}
	ev, err := commands.RemoveWebhook{At: a.now(), ID: in.Webhook, By: callOf(ctx).name}.Decide(commands.WebhookState{Exists: w != nil})
	_, err = a.people(ctx, 0, ev, err)
	return nil, err
}
