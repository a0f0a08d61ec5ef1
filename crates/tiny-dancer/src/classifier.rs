//! Text or vector sequences to labels: FastGRNN or a bag of embeddings under one door.
