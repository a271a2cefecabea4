//! The controller: events are folded into a model, the model into desired maps.
