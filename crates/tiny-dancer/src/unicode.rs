//! What Unicode says about characters: decompositions, combining classes, general categories.
//!
//! By libraries; in WebAssembly from tables that the build has packed from them, as theirs would be a tenth of the module.

#[cfg(any(test, target_arch = "wasm32"))]
mod packed;

#[cfg(target_arch = "wasm32")]
pub(crate) use packed::{canonical_combining_class, compose, decompose_compatible};
#[cfg(all(feature = "encoder", target_arch = "wasm32"))]
pub(crate) use packed::{decompose_canonical, is_mark_nonspacing, is_other, is_punctuation};

#[cfg(all(feature = "encoder", not(target_arch = "wasm32")))]
pub(crate) use libraries::{is_mark_nonspacing, is_other, is_punctuation};
#[cfg(all(feature = "encoder", not(target_arch = "wasm32")))]
pub(crate) use unicode_normalization::char::decompose_canonical;
#[cfg(not(target_arch = "wasm32"))]
pub(crate) use unicode_normalization::char::{canonical_combining_class, compose, decompose_compatible};

#[cfg(all(feature = "encoder", not(target_arch = "wasm32")))]
mod libraries {
    use unicode_categories::UnicodeCategories;

    /// Whether a character is of category Mn.
    #[inline]
    pub(crate) fn is_mark_nonspacing(character: char) -> bool {
        character.is_mark_nonspacing()
    }

    /// Whether a character is of a category P*.
    #[inline]
    pub(crate) fn is_punctuation(character: char) -> bool {
        character.is_punctuation()
    }

    /// Whether a character is of a category C*, as the library knows them.
    #[inline]
    pub(crate) fn is_other(character: char) -> bool {
        character.is_other()
    }
}
