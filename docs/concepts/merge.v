(* Merging depthwise kernels of every length: pad, fold, the identity, and any number of branches.

   Numbers are those of any commutative ring. A kernel is a list of taps. An input is a function from places, integers,
   to numbers: zero beyond its ends, so padding needs no case of its own. Check it with: coqc merge.v *)
Require Import List ZArith Ring Lia.
Import ListNotations.

Section Merge.
Variables (R : Type) (zero one : R) (add mul sub : R -> R -> R) (opp : R -> R).
Hypothesis ring_laws : ring_theory zero one add mul sub opp (@eq R).
Add Ring R : ring_laws.
Infix "+" := add. Infix "-" := sub. Infix "*" := mul.
Notation "i +z j" := (Z.add i j) (at level 50). Notation "i -z j" := (Z.sub i j) (at level 50).

(* What a kernel yields where its first tap meets place i. *)
Fixpoint conv (w : list R) (x : Z -> R) (i : Z) : R :=
  match w with [] => zero | tap :: rest => tap * x i + conv rest x (i +z 1) end.
Fixpoint plus (v w : list R) : list R :=
  match v, w with a :: v, b :: w => a + b :: plus v w | _, _ => [] end.
Definition zeros := repeat zero.
Definition padded p w := zeros p ++ w ++ zeros p.

Lemma conv_plus : forall v w x i, length v = length w -> conv (plus v w) x i = conv v x i + conv w x i.
Proof.
  induction v as [|a v IH]; destruct w as [|b w]; simpl; intros x i E; try discriminate; [ring|].
  rewrite IH by lia. ring.
Qed.
Lemma conv_scaled : forall s w x i, conv (map (mul s) w) x i = s * conv w x i.
Proof. intros s; induction w; simpl; intros; [ring|]. rewrite IHw. ring. Qed.
Lemma conv_app : forall v w x i, conv (v ++ w) x i = conv v x i + conv w x (i +z Z.of_nat (length v)).
Proof.
  induction v as [|a v IH]; intros w x i; cbn [app conv length].
  - rewrite Z.add_0_r. ring.
  - rewrite IH. replace (i +z 1 +z Z.of_nat (length v))%Z with (i +z Z.of_nat (S (length v))) by lia. ring.
Qed.
Lemma conv_zeros : forall n x i, conv (zeros n) x i = zero.
Proof. induction n; simpl; intros; [ring|]. unfold zeros in *. rewrite IHn. ring. Qed.

(* A kernel between p zeros at both ends, read from p places earlier, is the kernel itself. *)
Theorem pad : forall p w x i, conv (padded p w) x (i -z Z.of_nat p) = conv w x i.
Proof.
  intros. unfold padded. rewrite !conv_app, !conv_zeros. unfold zeros. rewrite repeat_length.
  replace (i -z Z.of_nat p +z Z.of_nat p) with i by lia. ring.
Qed.
Theorem identity : forall p x i, conv (padded p [one]) x (i -z Z.of_nat p) = x i.
Proof. intros. rewrite pad. simpl. ring. Qed.

(* A branch is a kernel with its batch norm, and the zeros that it needs at both ends to be as long as the longest. *)
Record branch := { taps : list R; bias : R; s : R; mean : R; shift : R; pads : nat }.
Definition normed b x i := s b * (conv (taps b) x i + bias b - mean b) + shift b.
Definition kernel b := map (mul (s b)) (taps b).
Definition constant b := s b * (bias b - mean b) + shift b.
Theorem fold : forall b x i, normed b x i = conv (kernel b) x i + constant b.
Proof. intros. unfold normed, kernel, constant. rewrite conv_scaled. ring. Qed.

(* Any number of branches, summed where the longest starts at place i, are one kernel and one bias. *)
Fixpoint branches l x i := match l with [] => zero | b :: l => normed b x (i +z Z.of_nat (pads b)) + branches l x i end.
Notation own b := (padded (pads b) (kernel b)).
Fixpoint merged size l := match l with [] => zeros size | b :: l => plus (own b) (merged size l) end.
Fixpoint constants l := match l with [] => zero | b :: l => constant b + constants l end.
Lemma length_plus : forall v w, length v = length w -> length (plus v w) = length v.
Proof. induction v; destruct w; simpl; intros; auto. Qed.
Lemma length_merged : forall size l,
  Forall (fun b => length (own b) = size) l -> length (merged size l) = size.
Proof. induction 1; simpl; [apply repeat_length|]. rewrite length_plus; congruence. Qed.
Theorem merge : forall size l x i, Forall (fun b => length (own b) = size) l ->
  branches l x i = conv (merged size l) x i + constants l.
Proof.
  intros size l x i F. induction F as [|b l E F IH]; simpl; [rewrite conv_zeros; ring|].
  rewrite conv_plus, IH, fold, <- (pad (pads b)) by (rewrite length_merged; auto).
  replace (i +z Z.of_nat (pads b) -z Z.of_nat (pads b)) with i by lia. ring.
Qed.
End Merge.
